"""TLS for the network kinds whose libraries give it, from PEM files that the settings name."""

from __future__ import annotations

import ssl

from handoff.settings import HandoffSettings


def server_tls(settings: HandoffSettings) -> ssl.SSLContext | None:
    """What a producer's server proves itself with, or None."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def client_tls(settings: HandoffSettings) -> ssl.SSLContext | None:
    """What a consumer checks a producer's server against, or None."""
    if settings.tls_authority is None:
        return None
    return ssl.create_default_context(cafile=settings.tls_authority)
