"""HTTP sessions: no proxy for calls to this machine, and a token is sent only to the server it is for."""

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
    """A token for one server. It is an `auth` object, since a .netrc would replace a plain header."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Session(requests.Session):
    """A session whose `verify` is used; `requests` would prefer the environment's variables."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        return super().merge_environment_settings(url, proxies, stream, self.verify, cert)


def session_for(server: str, ca_file: Path | None = None) -> requests.Session:
    """A session for calls to `server`. The environment's proxies are used, unless it is this machine.

    ca_file  certificates of the authorities to trust for https (default: the environment's, see `tls.ca_bundle`)
    Raises ValueError: the file holds no certificates.
    """
    session = _Session()
    session.trust_env = not is_loopback(server)
    authorities = ca_bundle(ca_file) if ca_file or is_tls(server) else None
    session.verify = str(authorities) if authorities else True
    return session


def with_scheme(server: str) -> str:
    """An address with its scheme; http:// if it has none."""
    return server if "://" in server else f"http://{server}"


def host_and_port(server: str) -> tuple[str, int]:
    """Host and port of an address such as http://host:port or host:port. Raises ValueError: the port is invalid."""
    parts = urlsplit(with_scheme(server))
    return parts.hostname or "", parts.port or (443 if parts.scheme in ("https", "grpcs") else 80)


def is_loopback(server: str) -> bool:
    """Whether an address is this machine's own, in any spelling: 127.1, ::ffff:127.0.0.1, 0.0.0.0.

    An invalid address is not: whoever connects to it reports that.
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
    return f"the token for {server} travels unencrypted: use https:// (gRPC: grpcs://) if the server has TLS"


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
    return f" ({variable} names a proxy for it; NO_PROXY lists hosts to call without one)"
