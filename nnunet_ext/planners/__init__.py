"""Experiment planners that stock nnU-Net finds by name."""
