"""Measures every kind of hand-off between two processes that do nothing else."""
