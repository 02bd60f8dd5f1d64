"""Measures whether tests or mypy notice the faults that mutmut puts into the code, one by one."""

PLACES = ("serving", "handoff/payload", "eden_client/film/plan")
"""The packages into which faults are put."""
