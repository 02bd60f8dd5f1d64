"""The page and its HTTP service: uploads, a queue that survives restarts, live progress.

Start it by `python -m web`.
"""
