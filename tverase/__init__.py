"""Erase a concept from a generative model with task vectors, and prove that it is gone."""
