"""Network architectures that a plans file names; nothing is imported before one is asked for."""
