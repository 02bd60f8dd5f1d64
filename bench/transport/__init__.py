"""Measures the time that a clip takes to a server and back."""
