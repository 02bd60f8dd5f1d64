"""Measures encoding, hand-off and decoding as a pipeline, against the decoder by itself."""
