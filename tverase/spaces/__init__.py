"""The continuous inputs that inversion searches."""
