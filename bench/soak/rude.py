"""Makes rude calls: hostile requests, calls that the caller abandons, deadlines that are too short to be met."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import requests

import media
from bench.soak.calls import Clip, difference
from bench.soak.record import Record
from eden_client.api.errors import envelope_in
from eden_client.api.routes import DECODER, ENCODER, FUSED_PATH, WORKFLOW_PATH
from media.region_format import CONTENT_TYPE, HEADER, region_header, region_name
from server import Server
from server.http import request

PATHS = {
    "workflow": WORKFLOW_PATH,
    "encoder": f"/predictions/{ENCODER}",
    "decoder": f"/predictions/{DECODER}",
    "fused": FUSED_PATH,
}
READ_FRAMES = ("workflow", "encoder", "fused")
"""Routes to which frames are sent; the decoder gets tickets."""
BINARY = {"Content-Type": "application/octet-stream"}
WITHIN_S = 90.0
"""Seconds for which an answer is waited for."""
BUSY = (429, 503, 504)
"""Status codes of a server that has too much to do; right for any call."""
DEAD = (0, 500, 502, 503, 507)
"""What may come while a worker is dead: TorchServe's own status codes, or 0 where the connection ended."""
STRAYS = 20
"""How many stray files are kept; the oldest is removed for a new one."""
DEADLINES_MS = (1, 3, 10, 30, 100)


class Rude:
    """Makes rude calls to one server, one kind after another. Any thread may use it."""

    def __init__(self, server: Server, region_folder: Path, record: Record, clips: list[Clip], seed: int) -> None:
        self._server, self._folder, self._record, self._clips = server, region_folder, record, clips
        self._random = random.Random(seed)
        self._body = media.encode_npy(clips[0].frames)
        self._strays: deque[Path] = deque()
        kinds = [self._hostile(*case) for case in self._cases()]
        others = [self._cut_short, self._left_waiting, self._left_streaming, self._kept_ticket]
        others += [self._late(route, ms) for route in ("workflow", "fused") for ms in DEADLINES_MS]
        self._kinds = itertools.cycle(self._random.sample(kinds + 3 * others, len(kinds) + 3 * len(others)))

    def make(self) -> Callable[[], None]:
        """The next call: a function that makes it and records what came of it."""
        return next(self._kinds)

    # ------------------------------------------------------------------ hostile

    def _cases(self) -> list[tuple[str, str, Mapping[str, str], Callable[[], bytes], tuple[int, ...]]]:
        """(route, what is wrong, headers, function that makes the body, status codes that are right)."""
        png = media.encode_image(self._clips[0].frames[0], "png")
        header = io.BytesIO()
        lying = {"descr": "|u1", "fortran_order": False, "shape": (2, 60_000, 60_000, 3)}
        np.lib.format.write_array_header_1_0(header, lying)
        floats = io.BytesIO()
        np.save(floats, np.zeros((2, 64, 96, 3), np.float32))
        bodies: dict[str, tuple[bytes, tuple[int, ...]]] = {
            "no frames": (b"nothing of any kind", (400,)),
            "a picture cut in half": (_form(("frame0", png), ("frame1", png[: len(png) // 2])), (400,)),
            "a picture with damaged bytes": (_form(("frame0", png), ("frame1", _damaged(png))), (400,)),
            "one picture": (_form(("frame0", png)), (400,)),
            "an array cut in half": (self._body[: len(self._body) // 2], (400,)),
            "an array that says it is enormous": (header.getvalue(), (400, 413)),
            "an array of floats": (floats.getvalue(), (400,)),
        }
        options = {
            "a seed below 0": {"X-Eden-Seed": "-1"},
            "a priority of no kind": {"X-Eden-Priority": "urgent"},
            "a format of no kind": {"X-Eden-Format": "exe"},
            "a deadline of 0": {"X-Eden-Deadline-Ms": "0"},
            "a layout of no kind": {"X-Eden-Layout": "z" * 3000},
        }
        cases: list[tuple[str, str, Mapping[str, str], Callable[[], bytes], tuple[int, ...]]] = []
        for route in READ_FRAMES:
            for what, (body, codes) in bodies.items():
                kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} if b"form-data" in body else BINARY
                cases.append((route, what, kind, partial(bytes, body), codes))
            for what, headers in options.items():
                cases.append((route, what, BINARY | headers, lambda: self._body, (400, 406)))
            described = {"Content-Type": CONTENT_TYPE}
            cases.append((route, "a region that is not there", described, lambda: _region("0" * 32), (409,)))
            cases.append((route, "a region outside the folder", described, lambda: _region("../../etc/passwd"), (400,)))
            cases.append((route, "a stray file as region", described, self._stray, (400,)))
        for what, ticket in {
            "a ticket of no kind": lambda: b"EDEN-TICKET\x01" + secrets.token_bytes(200),
            "a ticket that was altered": self._altered,
        }.items():
            cases.append(("decoder", what, BINARY, ticket, (403, *BUSY)))
        return cases

    def _hostile(
        self, route: str, what: str, headers: Mapping[str, str], make: Callable[[], bytes], right: tuple[int, ...]
    ) -> Callable[[], None]:
        name = f"{route}, hostile: {what}"

        def call() -> None:
            since = self._record.now()
            code, content = self._post(route, make(), headers)
            self._record.add_answer(f"{route}, hostile", str(code))
            if code not in right and code not in BUSY and not self._excused(route, since, code):
                self._record.add_fault(name, f"answered {code}, not one of {right}: {content[:500]!r}")

        return call

    def _altered(self) -> bytes:
        _, ticket = self._post("encoder", self._body, BINARY)
        at = self._random.randrange(len(ticket))
        return ticket[:at] + bytes([ticket[at] ^ 1]) + ticket[at + 1 :]

    def _stray(self) -> bytes:
        """A description of a region whose file is too short, and has another key than the description."""
        number = secrets.token_hex(16)
        path = self._folder / region_name(os.getuid(), number)
        path.write_bytes(region_header(secrets.token_bytes(32)).ljust(HEADER, b"\0"))
        path.chmod(0o600)
        self._strays.append(path)
        while len(self._strays) > STRAYS:
            self._strays.popleft().unlink(missing_ok=True)
        return _region(number)

    # ------------------------------------------------------------------ left in the middle

    def _cut_short(self) -> None:
        """The caller goes when half of the request is sent."""
        route = self._random.choice(READ_FRAMES)
        with self._connected(route, len(self._body)) as connection:
            connection.sendall(self._body[: len(self._body) // 2])
        self._record.add_answer(f"{route}, left", "half sent")

    def _left_waiting(self) -> None:
        """The caller resets the connection when all is sent, up to 0.1 s later: before the answer, or as it comes."""
        route = self._random.choice(READ_FRAMES)
        with self._connected(route, len(self._body)) as connection:
            connection.sendall(self._body)
            time.sleep(self._random.uniform(0, 0.1))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._record.add_answer(f"{route}, left", "all sent")

    def _left_streaming(self) -> None:
        """The caller goes when the first bytes of a stream have come."""
        with self._connected("fused", len(self._body), "X-Eden-Stream: 1\r\nX-Eden-Format: png\r\n") as connection:
            connection.sendall(self._body)
            connection.recv(100)
        self._record.add_answer("fused, left", "stream begun")

    def _kept_ticket(self) -> None:
        """The caller gets a ticket, and never takes it to the decoder."""
        since = self._record.now()
        code, content = self._post("encoder", self._body, BINARY)
        self._record.add_answer("encoder, ticket kept", str(code))
        if code != 200 and code not in BUSY and not self._excused("encoder", since, code):
            self._record.add_fault("encoder, ticket kept", f"answered {code}: {content[:500]!r}")

    @contextlib.contextmanager
    def _connected(self, route: str, length: int, more: str = "") -> Iterator[socket.socket]:
        """A connection on which the head of a request has been sent. What happens to it does not matter."""
        host = "127.0.0.1"
        with socket.create_connection((host, self._server.ports.inference), timeout=WITHIN_S) as connection:
            head = f"POST {PATHS[route]} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n{more}"
            head += f"Authorization: Bearer {self._server.token()}\r\nContent-Length: {length}\r\n\r\n"
            with contextlib.suppress(OSError):  # the server may have closed it first
                connection.sendall(head.encode())
                yield connection

    # ------------------------------------------------------------------ deadlines

    def _late(self, route: str, ms: int) -> Callable[[], None]:
        name = f"{route}, deadline"

        def call() -> None:
            clip = self._random.choice(self._clips)
            since = self._record.now()
            body = media.encode_npy(clip.frames)
            code, content = self._post(route, body, BINARY | {"X-Eden-Deadline-Ms": str(ms)})
            self._record.add_answer(name, str(code))
            wrong = None
            if code == 200:
                got = media.decode_npy(content, max_pixels=1 << 20, max_frames=100)
                wrong = difference(np.asarray(got), clip.between)
            elif code not in BUSY and not self._excused(route, since, code):
                wrong = f"answered {code}: {content[:500]!r}"
            if wrong:
                self._record.add_fault(f"{name} of {ms} ms", wrong)

        return call

    # ------------------------------------------------------------------

    def _post(self, route: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The answer's status code, from its envelope where it has one, and its content; 0 where no answer came."""
        token = self._server.tokens.headers("inference")
        try:
            reply = request(
                "POST", self._server.url + PATHS[route], data=body, headers={**token, **headers}, timeout=WITHIN_S
            )
        except requests.RequestException as error:
            return 0, str(error).encode()
        told = envelope_in(reply.content)
        return (told.code or 0) if told else reply.status_code, reply.content

    def _excused(self, route: str, since: float, code: int) -> bool:
        return code in DEAD and self._record.is_by_kill(route, since)


BOUNDARY = "a-boundary-of-the-soak"


def _form(*parts: tuple[str, bytes]) -> bytes:
    pieces = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in parts
    )
    return b"\r\n".join(pieces) + f"\r\n--{BOUNDARY}--\r\n".encode()


def _damaged(png: bytes) -> bytes:
    """The picture with its compressed bytes reversed, so that the checksum is wrong."""
    return png[:60] + png[60:-20][::-1] + png[-20:]


def _region(number: str) -> bytes:
    name = region_name(os.getuid(), number)
    place = {"file": name, "key": "0" * 64}
    told = {"layout": "rgb24", "dtype": "uint8", "shape": [2, 64, 96, 3], "frames": place | {"offset": HEADER}}
    return json.dumps(told).encode()
