"""Measures the quality of the frames between on real film: `python -m bench.real_film`."""
