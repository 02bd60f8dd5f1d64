"""Measures the quality of the frames between on scenes whose exact middle is known."""
