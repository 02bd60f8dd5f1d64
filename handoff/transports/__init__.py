"""One module per kind of hand-off, each imported only when it is used; `handoff.TRANSPORTS` is the table."""
