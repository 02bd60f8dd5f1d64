"""Trains the demo weights: a small EDEN, on scenes that are drawn during training (`python -m training --help`)."""
