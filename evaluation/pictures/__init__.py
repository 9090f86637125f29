"""Pictures of cases: slices with the outlines of labels and predictions."""
