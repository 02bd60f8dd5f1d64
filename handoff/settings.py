"""All that a hand-off can be told, in one frozen value that both stages share."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from handoff.errors import HandoffError
from handoff.payload.layout import WIRE_DTYPES

_PATHS = ("folder", "shared_folder", "tls_certificate", "tls_key", "tls_authority")
LARGEST_CHUNK = 32 << 20
_ADDRESSES = ("bind", "advertise")
_POSITIVE = ("budget_bytes", "max_payload_bytes", "max_in_flight", "time_to_live_s", "abandoned_after_s", "timeout_s")


@dataclass(frozen=True)
class HandoffSettings:
    """Bytes in bytes, times in seconds. Raises `HandoffError` for a value that makes no sense."""

    kind: str = "shared_memory"
    """One of `handoff.KINDS`."""
    wire: str | None = None
    """"fp32", "bf16" or "fp16": what tokens travel as; None: as the encoder computed them. Statistics stay float32."""
    budget_bytes: int = 2 << 30
    """What one producer holds at most in each kind of memory (a GPU's, shared, its own): what is free for the next
    payload, and what was taken and stays for a retry, included."""
    max_payload_bytes: int = 1 << 30
    """The largest payload that is put, or taken."""
    max_in_flight: int = 64
    """How many payloads of one producer may be out and not yet taken; `put` refuses the next."""
    keep_taken: int = 8
    """How many taken payloads stay for a retry; the oldest make room for the next, whose memory is then warm."""
    time_to_live_s: float = 60.0
    """How long after `put` a ticket is good."""
    abandoned_after_s: float = 5.0
    """A ticket that a caller keeps gives way to others, at the bounds, once one put so much later has been taken."""
    timeout_s: float = 10.0
    """How long a consumer waits for a producer that does not answer, and for the next piece of a payload."""
    folder: Path = field(default_factory=lambda: Path("run/handoff"))
    """This server's state: the key that both stages share."""
    shared_folder: Path = Path("/dev/shm")
    """Where segments and ledgers live: memory that looks like files."""
    bind: str = "127.0.0.1"
    """Address that a producer's server listens on (network kinds); anything but loopback is seen by other machines."""
    advertise: str = ""
    """Host name or address that tickets tell consumers to dial; by default the same as `bind`. One that only this
    host can dial has to be named here to be told to others: they take it for the end of a tunnel of theirs."""
    port: int = 0
    """First port to try, where a firewall wants it known (each producer takes the next free one); 0: any."""
    chunk_bytes: int | None = None
    """The largest piece in which a network kind sends a payload; None: what measured best for that kind."""
    tls_certificate: Path | None = None
    """PEM file of a producer's certificate chain: http, websocket and grpc then serve over TLS."""
    tls_key: Path | None = None
    """PEM file of that certificate's key."""
    tls_authority: Path | None = None
    """PEM file of whom a consumer trusts to have signed it; named on the consumer's side, TLS is insisted upon."""
    curve: bool = False
    """zeromq's own encryption (CURVE), with keys that both stages derive from the shared one."""
    benchmark: bool = False
    """Allows `torch_save`, which exists to be measured against."""

    def __post_init__(self) -> None:
        for name in _PATHS:  # a yaml has text
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.wire is not None and self.wire not in WIRE_DTYPES:
            raise HandoffError(f"wire is {self.wire!r}; known are {', '.join(WIRE_DTYPES)}, or none for as computed")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise HandoffError(f"{name} is {getattr(self, name)}; it has to be more than 0")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise HandoffError("tls_certificate and tls_key go together; one is missing")
        for name in _ADDRESSES:  # as in a URL
            object.__setattr__(self, name, getattr(self, name).removeprefix("[").removesuffix("]"))
        if _is_unspecified(self.dialled):
            name = "advertise" if self.advertise else "bind"
            raise HandoffError(f"{name} is {self.dialled}: name the address that consumers dial as well (advertise)")
        if self.chunk_bytes is not None and not 0 < self.chunk_bytes <= LARGEST_CHUNK:
            raise HandoffError(f"chunk_bytes is {self.chunk_bytes}; it has to be from 1 to {LARGEST_CHUNK}")
        if self.keep_taken < 0:
            raise HandoffError(f"keep_taken is {self.keep_taken}; it has to be 0 or more")

    @property
    def dialled(self) -> str:
        """Where consumers are told to find a producer's server."""
        return self.advertise or self.bind

    @property
    def names_loopback(self) -> bool:
        """Whether tickets name this host's loopback though nobody said so (`advertise`): other hosts cannot dial it."""
        return not self.advertise and is_loopback(self.bind)

    @functools.cached_property
    def ledger_folders(self) -> tuple[Path, ...]:
        """Where ledgers live: beside the segments; or in `folder`, without room for them there, or such memory."""
        if self.kind == "shared_memory" or self.shared_folder == self.folder:
            return (self.shared_folder,)
        return (self.shared_folder, self.folder) if self.shared_folder.is_dir() else (self.folder,)


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _is_unspecified(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:  # a name
        return False
