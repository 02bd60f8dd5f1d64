"""Payloads: their layout and wire format, which of them a producer holds, and who is reading them."""
