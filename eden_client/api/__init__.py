"""The client for programs: sends clips and returns the frames between; it retries while a server is away or busy."""
