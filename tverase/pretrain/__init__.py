"""Training of the embedded world's networks."""
