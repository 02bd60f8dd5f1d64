"""How long a visitor of the page waits."""
