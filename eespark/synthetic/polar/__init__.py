"""A small archive of Sentinel-1 scenes of sea ice whose truth is known."""
