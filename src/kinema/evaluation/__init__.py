"""Metrics as sums and counts, and the named protocols that turn them into numbers."""
