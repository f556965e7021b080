"""Pure functions on tensors: no modules, no files, no device choice, no global state."""
