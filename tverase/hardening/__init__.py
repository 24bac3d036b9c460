"""Hardening: distillation that keeps the erasure on the forget set and the base model's answers on the retain set."""
