"""Classes of a soil laboratory for nnU-Net."""
