"""Models that can be edited, opened from folders."""
