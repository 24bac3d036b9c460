"""Judges: what does an image show?"""
