"""How much a machine holds: streams, pairs per second, at which latency, with which settings."""
