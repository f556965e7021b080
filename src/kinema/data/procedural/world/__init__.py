"""Rendered worlds in three dimensions: clips with exact depth, camera path, flow and occlusion."""
