"""A whole film: read, planned, asked for, written, joined with its sound."""
