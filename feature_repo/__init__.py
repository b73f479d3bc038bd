"""Feast definitions, generated from the declarations in `features`."""
