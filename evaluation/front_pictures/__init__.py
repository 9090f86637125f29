"""Pictures of calving fronts: overlays, box plots, fronts and zone areas over time, timelines and animations."""
