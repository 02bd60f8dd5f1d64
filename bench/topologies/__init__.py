"""Compares the topologies, in one process and served, on the same GPUs in the same run."""
