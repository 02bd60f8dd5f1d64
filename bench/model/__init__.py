"""Measures the model's time, its parts, and how close it is to the machine's limits."""
