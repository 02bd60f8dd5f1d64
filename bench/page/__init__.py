"""Measures how long a visitor of the page waits."""
