"""Starting annotations, the napari window in which they are made, and two annotators' work put together."""
