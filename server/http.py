"""HTTP calls to a TorchServe on this machine: never through a proxy, and redirects are not followed."""

from typing import Any

import requests


def request(method: str, url: str, **options: Any) -> requests.Response:
    """`requests.request`, but ignoring the environment's proxy and .netrc: the token is for that server alone."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, allow_redirects=False, **options)
