"""Which weights are edited. Every selector answers a strength for each named group of parameters."""
