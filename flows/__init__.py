"""Prefect flows and the command line: the outermost layer."""
