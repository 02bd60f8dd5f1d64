"""The TorchServe that a worker belongs to: its configuration, and by that its addresses."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from server.api import Api
from server.settings import dialled, read_properties
from server.tokens import Tokens

DEFAULTS = {
    "inference": "http://127.0.0.1:8080",
    "management": "http://127.0.0.1:8081",
    "metrics": "http://127.0.0.1:8082",
}
"""TorchServe's default ports."""

ADDRESSES = tuple(f"{name}_address" for name in DEFAULTS)
CALLED_AT = ("inference_address", "grpc_inference_address")
"""Interfaces that default to loopback."""


def api_of(java: psutil.Process) -> Api:
    """The interfaces of a running TorchServe."""
    properties = _properties(java)
    inference, management = _address(properties, "inference"), _address(properties, "management")
    return Api(inference, management, Tokens(Path(java.cwd()), management))


def metrics_url_of(java: psutil.Process) -> str:
    """The URL of a running TorchServe's metrics."""
    return f"{_address(_properties(java), 'metrics')}/metrics"


def health_address_of(java: psutil.Process) -> tuple[str, int] | None:
    """Host and port of a running TorchServe's health checks (health_address); None: switched off."""
    parts = urlsplit(_properties(java).get("health_address", ""))
    return (parts.hostname, parts.port) if parts.hostname and parts.port else None


def _address(properties: Mapping[str, str], name: str) -> str:
    return dialled(properties.get(f"{name}_address") or DEFAULTS[name])


def called_at(java: psutil.Process) -> dict[str, str]:
    """The hosts on which a running TorchServe accepts calls, by the name of the setting that says so."""
    properties = _properties(java)
    named = {name: properties[name] for name in CALLED_AT if name in properties}
    hosts = {name: urlsplit(address if "//" in address else f"//{address}").hostname for name, address in named.items()}
    return {name: host for name, host in hosts.items() if host}


def _properties(java: psutil.Process) -> Mapping[str, str]:
    environment = java.environ()
    file = _configuration_file(java.cmdline(), Path(java.cwd()), environment)
    properties = read_properties(file) if file.exists() else {}
    if properties.get("enable_envvars_config") == "true":
        named = {name: environment.get(f"TS_{name.upper()}") for name in (*ADDRESSES, *CALLED_AT)}
        properties |= {name: address for name, address in named.items() if address}
    return properties


def _configuration_file(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> Path:
    """The file that TorchServe reads: the one after -f, else the snapshot of its last stop, else config.properties."""
    if "-f" in arguments:
        return folder / arguments[arguments.index("-f") + 1]
    snapshots = (folder / environment.get("LOG_LOCATION", "logs") / "config").glob("*shutdown.cfg")
    newest = max(snapshots, key=lambda path: path.stat().st_mtime, default=None)
    return newest if newest and "-ncs" not in arguments else folder / "config.properties"
