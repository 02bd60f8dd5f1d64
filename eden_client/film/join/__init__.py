"""Joins segments, sound, subtitles and all the rest into one file."""
