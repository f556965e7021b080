"""The training loop and what it stands on: state, schedules, devices, tracking. It knows no model."""
