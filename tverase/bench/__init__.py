"""The table that compares erasers: rows of models, columns of attacks, and the four rules that hold for all of them."""
