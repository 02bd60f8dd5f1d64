"""How this machine's HTTP calls go out: never by a proxy to itself, and no token further than the server it is for."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, select_proxy

from eden_client.api.tls import ca_bundle


class TokenInClear(UserWarning):
    """A token goes to another machine over a connection that is not encrypted."""


class Bearer(AuthBase):
    """A token for one server. An `auth` object, since a plain header gives way to what a .netrc says."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Session(requests.Session):
    """One whose `verify` counts: by itself, `requests` would rather have what the environment names."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        return super().merge_environment_settings(url, proxies, stream, self.verify, cert)


def session_for(server: str, ca_file: Path | None = None) -> requests.Session:
    """A session for calls to `server`. The environment's proxies are heeded, unless it is this machine.

    ca_file  of the authorities to trust by https (default: the environment's, see `tls.ca_bundle`)
    Raises ValueError where those are to be trusted, and there are none.
    """
    session = _Session()
    session.trust_env = not is_loopback(server)
    authorities = ca_bundle(ca_file) if ca_file or is_tls(server) else None
    session.verify = str(authorities) if authorities else True
    return session


def with_scheme(server: str) -> str:
    """An address that says how to speak to it: HTTP, where nothing is said."""
    return server if "://" in server else f"http://{server}"


def host_and_port(server: str) -> tuple[str, int]:
    """Of an address such as http://host:port or host:port. Raises ValueError for a port that is none."""
    parts = urlsplit(with_scheme(server))
    return parts.hostname or "", parts.port or (443 if parts.scheme in ("https", "grpcs") else 80)


def is_loopback(server: str) -> bool:
    """Whether an address is this machine's own, however it is spelt: 127.1, ::ffff:127.0.0.1, 0.0.0.0.

    One that cannot be read is not: whoever dials it says what is wrong.
    """
    try:
        host = host_and_port(server)[0].rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (ValueError, OSError):
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def is_tls(server: str) -> bool:
    """Whether an address says https:// or grpcs://."""
    return urlsplit(with_scheme(server)).scheme in ("https", "grpcs")


def clear_note(server: str) -> str:
    """A warning about a token for this address, empty where it is encrypted or stays on this machine."""
    if is_tls(server) or is_loopback(server):
        return ""
    return f"the token for {server} travels in clear: use https:// (gRPC: grpcs://) where the server has TLS"


def proxy_note(server: str) -> str:
    """What to add to a failure to reach `server`: the variable that names a proxy for it, if there is one."""
    url = with_scheme(server)
    if is_loopback(url) or not select_proxy(url, get_environ_proxies(url)):
        return ""
    scheme = urlsplit(url).scheme
    return _note(name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper()))


def grpc_proxy_note(target: str) -> str:
    """The same for gRPC, which reads variables of its own, in lower case only."""
    names = ("grpc_proxy", "https_proxy", "http_proxy")
    return _note(names) if not is_loopback(target) and any(map(os.environ.get, names)) else ""


def _note(names: Iterable[str]) -> str:
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    return f" ({variable} names a proxy for it; NO_PROXY lists the hosts that want none)"
