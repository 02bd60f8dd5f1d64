"""JPEG by libjpeg and by the GPU, side by side."""
