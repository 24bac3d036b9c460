"""Diverse Inversion: many embeddings that each still draw the concept."""
