"""Short programs that show one use each: `python -m examples.NAME --help`."""
