"""Films made by the nodes of a Ray cluster. Nothing in here is imported unless that is asked for (--ray)."""
