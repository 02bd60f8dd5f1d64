"""Every way to hand over, measured between two processes that do nothing else."""
