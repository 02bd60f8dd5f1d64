"""Keeps request traces in the client, and writes them for people to look at."""
