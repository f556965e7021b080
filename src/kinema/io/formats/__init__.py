"""The file formats behind `kinema.io.flow` and `kinema.io.images`, one module for each."""
