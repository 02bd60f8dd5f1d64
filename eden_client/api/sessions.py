"""How this machine's HTTP calls go out: never by a proxy to itself, and no token further than the server it is for."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, select_proxy


class Bearer(AuthBase):
    """A token for one server. An `auth` object, since a plain header gives way to what a .netrc says."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def session_for(server: str) -> requests.Session:
    """A session for calls to `server`. The environment's proxies are heeded, unless it is this machine."""
    session = requests.Session()
    if is_loopback(server):
        session.trust_env = False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    return session


def with_scheme(server: str) -> str:
    """An address that says how to speak to it: HTTP, where nothing is said."""
    return server if "://" in server else f"http://{server}"


def host_and_port(server: str) -> tuple[str, int]:
    """Of an address such as http://host:port or host:port. Raises ValueError for a port that is none."""
    parts = urlsplit(with_scheme(server))
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(server: str) -> bool:
    """Whether an address is this machine's own. One that cannot be read is not: whoever dials it says what is wrong."""
    try:
        host, _ = host_and_port(server)
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
