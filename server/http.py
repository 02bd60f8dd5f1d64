"""Calls to a TorchServe of this machine: never by a proxy, and never on to where an answer redirects them."""

from typing import Any

import requests


def request(method: str, url: str, **options: Any) -> requests.Response:
    """`requests.request`, past whatever proxy and .netrc the environment names: the token is for that server alone."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, allow_redirects=False, **options)
