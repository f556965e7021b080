"""Weights: those that come with kinema, those of others, and how they are packed and converted."""
