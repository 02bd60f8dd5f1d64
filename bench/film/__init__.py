"""Measures how fast the command makes a film, beside what the same machine could do."""
