"""Hosts of their own on one machine: network namespaces, and a network between them that tests slow down and cut.

What a host sends arrives at a TUN device; a thread here reads it, packet by packet, and delivers it to the host it is
for: late, one by one, or not at all. `tc netem` does that too, where the kernel has it; this one needs TUN devices
alone, and says what has passed: a link is cut in the middle of a transfer, whatever the speed of the machine.

What tells hosts apart is their own as well: the boot's id, and the memory in /dev/shm. Files are shared.

Nothing has to be tidied up: namespaces have no name, and are gone with the last process in them and the last
descriptor of them here.
"""

from __future__ import annotations

import fcntl
import heapq
import ipaddress
import itertools
import math
import os
import random
import select
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.libc import CLONE_NEWNET, MS_BIND, call, keep_mounts_to_oneself

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_BOOT = "/proc/sys/kernel/random/boot_id"
_QUEUE_S = 0.5
"""What may wait in front of a slow link, in seconds of its rate; what comes then is lost, as in any router."""
_LARGEST = 65536


def enter(host: Host) -> None:
    """Move this process, which has one thread, to a host that another one holds."""
    with Path(host.namespace).open("rb") as file:
        call("setns", file.fileno(), CLONE_NEWNET)
    keep_mounts_to_oneself()
    call("mount", os.fsencode(host.boot), _BOOT.encode(), None, MS_BIND, None)
    call("mount", b"tmpfs", b"/dev/shm", b"tmpfs", 0, None)


@dataclass
class Host:
    """A network namespace with an address of each family, its own loopback, and nothing else."""

    address: str
    address6: str
    boot: Path
    """A file with what stands for the boot's id."""
    namespace: str = ""
    """Where processes that enter it find it."""
    tun: int = -1
    _descriptor: int = -1

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs another one on this host, with memory of its own in /dev/shm."""
        own = f'mount --bind "$0" {_BOOT} && mount -t tmpfs tmpfs /dev/shm && exec "$@"'
        mounting = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own, str(self.boot)]
        return ["nsenter", f"--net={self.namespace}", *mounting, *arguments]

    def open(self) -> None:
        """Make it. Raises OSError where that is not allowed."""
        problems: list[OSError] = []

        def make() -> None:  # in a thread, whose end leaves this process where it is
            try:
                call("unshare", CLONE_NEWNET)
                self._descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
                self.namespace = f"/proc/{os.getpid()}/fd/{self._descriptor}"
                self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", b"net0", _IFF_TUN | _IFF_NO_PI))
            except OSError as error:
                problems.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if problems:
            self.close()
            raise problems[0]
        lines = (
            "link set lo up",
            "link set net0 mtu 1500 up",
            f"addr add {self.address}/24 dev net0",
            f"addr add {self.address6}/64 dev net0 nodad",
        )
        setting_up = [["nsenter", f"--net={self.namespace}", "ip", *line.split()] for line in lines]
        for command in (*setting_up, self.command("true")):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode:
                raise OSError(f"{' '.join(command[2:])}: {done.stderr.strip()}")

    def close(self) -> None:
        """Let go of it; processes in it have no network from now on."""
        for descriptor in (self.tun, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.tun = self._descriptor = -1


@dataclass
class Link:
    """From one host to another, in one direction."""

    delay_s: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    """Bytes per second."""
    passed: int = 0
    """Bytes that were delivered."""
    lost: int = 0
    """Packets that were not."""
    cut_after: int | None = None
    """Bytes from which on it is cut, in both directions."""
    cut_for_s: float = math.inf
    """How long, from then on."""
    cut_until: float = 0.0
    free_at: float = 0.0
    """When what waits in front of it has left."""

    @property
    def cut(self) -> bool:
        """Whether it carries nothing."""
        return time.monotonic() < self.cut_until


@dataclass(order=True)
class _Packet:
    due: float
    number: int
    link: Link = field(compare=False)
    target: Host = field(compare=False)
    data: bytes = field(compare=False)


class Network:
    """Hosts with addresses for documentation, 192.0.2.1 on and 2001:db8::1 on, and a link from each to each.

    Raises OSError where namespaces or TUN devices are not allowed.
    """

    def __init__(self, count: int) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="eden-hosts-")
        files = Path(self._files.name)
        self.hosts = [Host(f"192.0.2.{i}", f"2001:db8::{i}", files / f"boot-{i}") for i in range(1, count + 1)]
        for host in self.hosts:
            host.boot.write_text(f"{uuid.uuid4()}\n")
        self.links: dict[tuple[str, str], Link] = {
            (one.address, other.address): Link() for one in self.hosts for other in self.hosts if one is not other
        }
        self._lock = threading.Lock()
        self._by_address: dict[bytes, Host] = {}
        for host in self.hosts:
            for text in (host.address, host.address6):
                self._by_address[ipaddress.ip_address(text).packed] = host
        self._random = random.Random(0)
        self._stop, self._stopped = os.pipe()
        try:
            for host in self.hosts:
                host.open()
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def between(self, one: Host, other: Host) -> tuple[Link, Link]:
        """There, and back."""
        return self.links[one.address, other.address], self.links[other.address, one.address]

    def degrade(
        self, one: Host, other: Host, *, delay_s: float = 0.0, loss: float = 0.0, rate: float | None = None
    ) -> None:
        """From now on both directions are late, lose packets, carry so many bytes per second."""
        with self._lock:
            for link in self.between(one, other):
                link.delay_s, link.loss, link.rate = delay_s, loss, rate

    def cut_after(self, one: Host, other: Host, nbytes: int, for_s: float = math.inf) -> None:
        """Cut both directions once so many more bytes have gone from `one` to `other`: so long, or until mended."""
        with self._lock:
            there, _ = self.between(one, other)
            there.cut_after, there.cut_for_s = there.passed + nbytes, for_s

    def mend(self, one: Host, other: Host) -> None:
        """Both directions carry again."""
        with self._lock:
            for link in self.between(one, other):
                link.cut_until, link.cut_after = 0.0, None

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for host in self.hosts:
            host.close()
        for descriptor in (self._stop, self._stopped):
            os.close(descriptor)
        self._files.cleanup()

    def _run(self) -> None:
        sources = {host.tun: host for host in self.hosts}
        poll = select.poll()
        for descriptor in (*sources, self._stop):
            poll.register(descriptor, select.POLLIN)
        waiting: list[_Packet] = []
        number = itertools.count()
        while True:
            patience = max(waiting[0].due - time.monotonic(), 0) * 1000 if waiting else None
            ready = [descriptor for descriptor, _ in poll.poll(patience)]
            if self._stop in ready:
                return
            with self._lock:
                for descriptor in ready:
                    self._accept(sources[descriptor], waiting, number)
                while waiting and waiting[0].due <= time.monotonic():
                    self._deliver(heapq.heappop(waiting))

    def _accept(self, source: Host, waiting: list[_Packet], number: itertools.count[int]) -> None:
        """Take what a host sends, until it sends no more for the moment."""
        for _ in range(64):
            try:
                data = os.read(source.tun, _LARGEST)
            except BlockingIOError:
                return
            target = self._by_address.get(data[16:20] if data[0] >> 4 == 4 else data[24:40])
            if target is None or target is source:  # multicast, above all
                continue
            link, now = self.links[source.address, target.address], time.monotonic()
            leaves = max(now, link.free_at)
            if link.cut or self._random.random() < link.loss or leaves - now > _QUEUE_S:
                link.lost += 1
                continue
            if link.rate:
                leaves += len(data) / link.rate
                link.free_at = leaves
            heapq.heappush(waiting, _Packet(leaves + link.delay_s, next(number), link, target, data))

    def _deliver(self, packet: _Packet) -> None:
        link = packet.link
        if link.cut:
            link.lost += 1
            return
        os.write(packet.target.tun, packet.data)
        link.passed += len(packet.data)
        if link.cut_after is not None and link.passed >= link.cut_after:
            (source,) = {one for (one, other), each in self.links.items() if each is link}
            back = self.links[packet.target.address, source]
            link.cut_until = back.cut_until = time.monotonic() + link.cut_for_s
            link.cut_after = None


def hosts_are_allowed() -> bool:
    """Whether there can be a network here."""
    try:
        with Network(1):
            return True
    except OSError:
        return False
