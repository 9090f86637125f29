"""The CaFFe benchmark of calving fronts: names, grey levels and bounding boxes of its files."""
