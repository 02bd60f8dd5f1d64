"""Compares JPEG by libjpeg and on the GPU."""
