"""The one seam to nnU-Net: a start-up hook, and class look-up through entry points."""
