"""The demonstration: a generated soil phantom through the whole workflow."""
