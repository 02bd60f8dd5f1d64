"""Writes frames into segments, folders and pipes."""
