"""What can be wrong with a copy of a data set, and how it is seen; `kinema.data.doctor` puts it together."""
