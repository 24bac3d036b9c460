"""Attacks that look for inputs that bring a concept back."""
