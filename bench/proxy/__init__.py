"""Several servers behind HAProxy, under load, while servers are killed, replaced and drained."""
