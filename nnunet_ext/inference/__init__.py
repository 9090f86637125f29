"""Prediction of volumes larger than memory."""
