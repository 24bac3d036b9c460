"""The nightly watch over an erased model: what a night draws, and whether all nights together are evidence against it."""
