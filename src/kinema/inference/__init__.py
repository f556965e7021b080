"""Predictors: a model with its pre- and post-processing, tiles, windows and streaming."""
