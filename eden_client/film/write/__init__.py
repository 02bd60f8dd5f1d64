"""Frames into segments, folders, pipes."""
