"""Extensions for nnU-Net v2 that its stock commands find by name."""

__version__ = "0.1.0"
