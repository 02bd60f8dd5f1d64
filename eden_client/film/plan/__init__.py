"""Which frames a film needs, when, and where none can go between."""
