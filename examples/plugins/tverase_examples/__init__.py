"""Plug-ins for tverase that live outside of it: one file each."""
