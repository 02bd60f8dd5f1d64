"""Measures the cost per frame, call and job of parts that exist once, and how many GPUs they could feed."""
