"""The steps of an erasure as functions of a `Context`: values in, values out. None of them writes a file unless asked to."""
