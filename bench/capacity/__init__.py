"""Measures a machine's capacity: streams and pairs per second, with their latency, for several settings of a server."""
