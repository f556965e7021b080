"""Training objectives, as pure functions of model outputs."""
