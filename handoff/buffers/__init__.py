"""Memory that payloads wait in or arrive in: of the host, shared between processes, of a GPU."""
