"""Kinds whose consumers connect to the producer and request payloads, which travel in pieces from host memory."""
