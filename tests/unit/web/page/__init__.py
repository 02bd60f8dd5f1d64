"""A package, so that its browser is closed behind its last test: while one is open, asyncio runs nothing else there."""
