"""Request traces: W3C trace context, spans, and the form in which they travel with an answer.

Server and client both use it; it needs nothing but Python's own library (and, to export, OpenTelemetry's).
"""
