"""Rendered data in official layouts: small sets with exact truth that the families' own readers open."""
