"""Calving fronts as lines: ordered pixels, map coordinates, GeoJSON, and the steps from an image to its files."""
