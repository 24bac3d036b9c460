"""Ways to make one better task vector of several or of one: one method a file, `tverase.build` joins them."""
