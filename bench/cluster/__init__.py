"""Measures films on a Ray cluster on one machine."""
