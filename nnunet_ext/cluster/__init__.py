"""Job graphs for clusters: trainings, predictions and whole pipelines as arrays of jobs that depend on each other."""
