"""The command `eden-interpolate`."""
