"""Encode, hand over and decode in step, against the decoder by itself."""
