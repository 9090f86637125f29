"""Training curves: logs and checkpoints of the folds of a model, their mean and their figure."""
