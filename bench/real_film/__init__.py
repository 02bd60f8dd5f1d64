"""How good the frames between are on real film: `python -m bench.real_film`."""
