"""How fast a trainer, or a network at inference, is on a machine."""
