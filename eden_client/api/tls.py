"""Encrypted connections: which certificates to trust, and why a connection failed."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

import certifi

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that name a file of authorities if no option does; the first that is set is used."""


def ca_bundle(named: Path | None) -> Path | None:
    """The file of authorities to trust: `named`, or the environment's; None: those that come with `requests`.

    Raises ValueError where it holds no certificates.
    """
    told = named or next((Path(value) for name in VARIABLES if (value := os.environ.get(name))), None)
    if told is None:
        return None
    try:
        if not told.is_dir():  # of a folder, what is in it is read when it is wanted
            ssl.create_default_context(cafile=told)
    except OSError as error:
        raise ValueError(f"{told}: not a file of PEM certificates ({error.strerror or error})") from error
    return told


def root_certificates(named: Path | None) -> bytes:
    """The same as PEM. Raises ValueError: as above, and for a folder, which gRPC does not take."""
    bundle = ca_bundle(named) or Path(certifi.where())
    if bundle.is_dir():
        raise ValueError(f"{bundle} is a folder: gRPC needs a file of certificates (--ca-file)")
    return bundle.read_bytes()


def tls_note(error: object) -> str:
    """Text to add to a failed connection: whether its certificate is at fault, and what helps.

    Empty: not TLS's fault.
    """
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = re.search(r"CERTIFICATE_VERIFY_FAILED\]?:? ?(?:certificate verify failed: )?([^(\":]*[^(\":' ])", text)
        help_ = "" if "mismatch" in text else "; --ca-file names the authority that signed it"
        return f": its certificate is not trusted{f' ({why[1]})' if why else ''}{help_}"
    return ": it does not speak TLS there" if "WRONG_VERSION_NUMBER" in text else ""
