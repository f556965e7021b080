"""Rendered scenes with exact truth; any sample is a pure function of (seed, index)."""
