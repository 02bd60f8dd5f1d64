"""Makes films on the nodes of a Ray cluster. Imported only with --ray."""
