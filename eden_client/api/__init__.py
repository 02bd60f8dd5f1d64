"""The client for programs: clips in, the frames between out, whatever the server goes through meanwhile."""
