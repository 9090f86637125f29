"""Scores of predicted label maps: overlap per case and class, summaries, and the ``evaluate`` command."""
