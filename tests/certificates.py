"""Certificates that sign themselves, for servers that tests start."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(folder: Path, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """One for an address, and its key, both PEM."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", f"/CN={address}"]
    command += ["-addext", f"subjectAltName=IP:{address}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"
