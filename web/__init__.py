"""Films over HTTP: uploads, a queue that survives restarts, progress as it happens. Started by `python -m web`."""
