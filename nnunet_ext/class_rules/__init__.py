"""Rules that turn a class of a label map into another where there is little of it."""
