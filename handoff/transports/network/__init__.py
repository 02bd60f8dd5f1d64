"""Kinds whose consumers dial the producer and ask: payloads wait in host memory and travel in pieces."""
