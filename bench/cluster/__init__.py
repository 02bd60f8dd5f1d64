"""A Ray cluster on one machine, and what films on it cost."""
