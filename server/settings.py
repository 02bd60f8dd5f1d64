"""Where this project's files are, and a server's configuration: config.properties, with ports and settings changed."""

import itertools
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
"""The folder that this project's packages lie in: a checkout, or where pip put them."""
IN_CHECKOUT = (PROJECT / "archive.sh").is_file()
COMMAND = "python -m server" if IN_CHECKOUT else "eden-serve"
PACK = "./archive.sh" if IN_CHECKOUT else f"{COMMAND} pack"

SHIPPED = PROJECT if IN_CHECKOUT else PROJECT / "server" / "shipped"
"""Where the files are that are no modules. In a checkout, server/shipped holds links to them, for what is installed."""
CONFIG = SHIPPED / "config.properties"
WORKFLOW = SHIPPED / "workflow" / "eden.yaml"
DEMO_WEIGHTS = SHIPPED / "weights" / "demo"

HOME = PROJECT if IN_CHECKOUT else Path()
"""Where model_store/ and run/ are: in the checkout, else in the current folder."""
MODEL_STORE = HOME / "model_store"
FOLDER = HOME / "run" / "server"


def read_properties(path: Path) -> dict[str, str]:
    """The `key=value` lines of a properties file, without Java's escapes; comments (#, !) are skipped."""
    lines = (line.strip() for line in path.read_text(encoding="latin-1").splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#!")
    return {key.strip(): _unescaped(value.strip()) for key, _, value in pairs}


def write_properties(path: Path, properties: Mapping[str, object]) -> None:
    """As Java reads it, whatever the values hold: Java takes such a file for Latin-1, and backslashes for escapes."""
    lines = (f"{key}={_escaped(_text(value))}\n" for key, value in properties.items())
    path.write_text("".join(lines), encoding="ascii")


ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def _escaped(value: str) -> str:
    value = value.replace("\\", "\\\\")
    for letter, character in ESCAPES.items():
        value = value.replace(character, f"\\{letter}")
    kept = len(value) - len(value.lstrip(" "))
    return "\\ " * kept + "".join(each if each.isascii() else _utf_16(each) for each in value[kept:])


def _utf_16(character: str) -> str:
    code = character.encode("utf-16-be").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))


def _unescaped(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        code, character = match.groups()
        return chr(int(code, 16)) if code else ESCAPES.get(character, character)

    plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, value)
    # A pair of surrogates is one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_BELOW_OUTGOING = range(10_000, 32_000)
"""Linux gives ports from 32768 on to outgoing calls, which could take one before its server listens there."""
_APART = 131
"""How many times a process may ask before it is where the next one began."""
_asked = itertools.count()


@dataclass(frozen=True)
class Ports:
    """The ports that one server listens on, all on loopback."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int
    health: int | None = None
    """None: health is not to be asked for"""

    @classmethod
    def free(cls) -> Self:
        """Six ports that nobody listens on. Processes that ask at the same moment look in different places.

        Raises OSError if there are no six in a row.
        """
        count = len(fields(cls))
        blocks = len(_BELOW_OUTGOING) // count
        for _ in range(blocks):
            block = (_APART * os.getpid() + next(_asked)) % blocks
            ports = cls(*_BELOW_OUTGOING[count * block : count * (block + 1)])
            if not ports.taken():
                return ports
        raise OSError(f"no {count} free ports from {_BELOW_OUTGOING.start} to {_BELOW_OUTGOING.stop}")

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Self:
        """The ports that a configuration names."""
        return cls(
            _port(properties["inference_address"]),
            _port(properties["management_address"]),
            _port(properties["metrics_address"]),
            int(properties["grpc_inference_port"]),
            int(properties["grpc_management_port"]),
            _port(health) if (health := properties.get("health_address")) else None,
        )

    def properties(self) -> dict[str, str]:
        return {
            "inference_address": f"http://127.0.0.1:{self.inference}",
            "management_address": f"http://127.0.0.1:{self.management}",
            "metrics_address": f"http://127.0.0.1:{self.metrics}",
            "grpc_inference_port": str(self.grpc_inference),
            "grpc_management_port": str(self.grpc_management),
            "health_address": f"http://127.0.0.1:{self.health}" if self.health else "",
        }

    def all(self) -> list[int]:
        """Those that there are."""
        return [port for port in vars(self).values() if port]

    def taken(self) -> list[int]:
        """Those that somebody listens on already."""
        return [port for port in self.all() if _is_taken(port)]


def dialled(address: str) -> str:
    """The URL by which this host reaches what listens there: bound to every interface, loopback reaches it as well."""
    parts = urlsplit(address)
    host = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname, parts.hostname)
    return f"{parts.scheme}://{f'[{host}]' if ':' in str(host) else host}:{_port(address)}"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def configuration(ports: Ports | None, changes: Mapping[str, object]) -> dict[str, str]:
    """The project's configuration with other ports (None: its own) and with changes; paths in it made absolute."""
    properties = read_properties(CONFIG)
    if ports:
        properties |= ports.properties()
    properties["metrics_config"] = str(PROJECT / properties["metrics_config"])
    return properties | {key: _text(value) for key, value in changes.items()}
