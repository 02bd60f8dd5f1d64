"""The settings of a hand-off, which both nodes share."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from handoff.errors import HandoffError

WIRE_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of PyTorch's types by the values of the setting `wire`."""
_PATHS = ("folder", "shared_folder", "tls_certificate", "tls_key", "tls_authority")
LARGEST_CHUNK = 32 << 20
_ADDRESSES = ("bind", "advertise")
_POSITIVE = ("budget_bytes", "max_payload_bytes", "max_in_flight", "time_to_live_s", "abandoned_after_s", "timeout_s")


@dataclass(frozen=True)
class HandoffSettings:
    """Settings of a hand-off: sizes in bytes, times in seconds. Raises `HandoffError` for an impossible value."""

    kind: str = "shared_memory"
    """One of `handoff.KINDS`."""
    wire: str | None = None
    """Type in which tokens travel: "fp32", "bf16" or "fp16"; None: as computed. Statistics always travel as float32."""
    budget_bytes: int = 2 << 30
    """Most bytes that one producer allocates in each kind of memory (GPU, shared, its own), including free buffers and
    payloads that are kept for a retry after being taken."""
    max_payload_bytes: int = 1 << 30
    """Most bytes of a payload, put or taken."""
    max_in_flight: int = 64
    """How many payloads of one producer may wait to be taken; `put` refuses the next."""
    keep_taken: int = 8
    """How many payloads are kept for a retry after being taken; new payloads reuse the memory of the oldest."""
    time_to_live_s: float = 60.0
    """How long after `put` a ticket is valid."""
    abandoned_after_s: float = 5.0
    """When a limit is reached, a caller's payload is dropped if another one, put so much later, has been taken."""
    timeout_s: float = 10.0
    """How long a consumer waits for a producer that does not answer, and for the next piece of a payload."""
    folder: Path = field(default_factory=lambda: Path("run/handoff"))
    """Folder of this server's state: the key that both nodes share."""
    shared_folder: Path = Path("/dev/shm")
    """Folder for segments and ledgers: a file system in memory."""
    bind: str = "127.0.0.1"
    """Address that a producer's server listens on (network kinds). Any but a loopback one is open to other machines."""
    advertise: str = ""
    """Host name or address in tickets, which consumers dial; by default that of `bind`. Set it to a loopback address
    only for consumers that reach this producer by a tunnel: without it, other hosts refuse tickets with one."""
    port: int = 0
    """First port to try, for a firewall that must know it (each producer takes the next free one); 0: any port."""
    chunk_bytes: int | None = None
    """Most bytes per piece of a payload (network kinds); None: the size that measured best for the kind."""
    tls_certificate: Path | None = None
    """PEM file of a producer's certificate chain: http, websocket and grpc then serve over TLS."""
    tls_key: Path | None = None
    """PEM file of that certificate's key."""
    tls_authority: Path | None = None
    """PEM file of the certificate authority that a consumer trusts; if it is set, consumers insist on TLS."""
    curve: bool = False
    """Whether zeromq encrypts (CURVE), with keys that both nodes derive from the shared key."""
    benchmark: bool = False
    """Whether `torch_save` is allowed, the baseline of benchmarks."""

    def __post_init__(self) -> None:
        for name in _PATHS:  # a yaml has text
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.wire is not None and self.wire not in WIRE_TYPES:
            raise HandoffError(f"wire is {self.wire!r}; known are {', '.join(WIRE_TYPES)}, or none for as computed")
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
        """The address of a producer's server in its tickets."""
        return self.advertise or self.bind

    @property
    def names_loopback(self) -> bool:
        """Whether tickets name a loopback address although `advertise` is not set: other hosts cannot dial it."""
        return not self.advertise and is_loopback(self.bind)

    @functools.cached_property
    def ledger_folders(self) -> tuple[Path, ...]:
        """Folders for ledgers, in the order to be tried: that of the segments; then `folder`, if the kind allows it."""
        if self.kind == "shared_memory" or self.shared_folder == self.folder:
            return (self.shared_folder,)
        return (self.shared_folder, self.folder) if self.shared_folder.is_dir() else (self.folder,)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback one, which only this host can reach."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _is_unspecified(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:  # a name
        return False
