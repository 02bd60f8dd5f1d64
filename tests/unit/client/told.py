"""A small HTTP server that answers and fails to order, in place of TorchServe."""

from __future__ import annotations

import io
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from eden_client.api.routes import ENCODER, FUSED_PATH, TICKET, WORKFLOW_PATH
from media import decode_npy, encode_npy
from media.region_format import CONTENT_TYPE as REGION
from serving.answer import as_part, stream_end

FRAMES = list(np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), np.uint8))


class Told:
    """An HTTP server whose answers are told in advance: a body, a status and a body, those and
    headers, or a function that makes them.

    By itself it draws means, or what `draw` does; its tickets are the clips. An empty request is refused as a server of
    ours does for what it offers, and as TorchServe does for the rest.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.offers = {WORKFLOW_PATH}
        self.asked: list[str] = []
        """paths of empty requests, which leave no trace elsewhere"""
        self.takes_regions = False
        """else a region is refused, which leaves no trace but this:"""
        self.regions_asked = 0
        self.answers: list = []
        self.draw: Callable[[bytes], object] = between
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.closed = False
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement of its head

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not body and self.path in (WORKFLOW_PATH, FUSED_PATH):
                    told.asked.append(self.path)
                    self.answer(*told.known(self.path))
                    return
                if self.headers["Content-Type"] == REGION and not told.takes_regions:
                    told.regions_asked += 1
                    self.answer(409, envelope(409, "RegionUnavailable", retry="never"))
                    return
                told.paths.append(self.path)
                told.tokens.append(self.headers.get("Authorization"))
                told.bodies.append(body)
                told.headers.append(dict(self.headers))
                answer = told.answers.pop(0) if told.answers else told.draw
                drawn = answer is told.draw
                if drawn and self.path.endswith(ENCODER):
                    self.answer(200, TICKET + body)
                    return
                if isinstance(answer, Callable):
                    answer = answer(body.removeprefix(TICKET))
                if answer is None:  # break off
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if drawn and not isinstance(answer, tuple) and self.headers.get("X-Eden-Stream"):
                    answer = streamed(answer)
                self.answer(*(answer if isinstance(answer, tuple) else (200, answer)))

            def answer(self, status, content, headers=None):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def known(self, path: str) -> tuple[int, bytes]:
        if path in self.offers:
            status = 200 if path == WORKFLOW_PATH else 400
            return status, envelope(400, "BadRequest", "the request is empty", retry="never")
        return 404, envelope(404, "WorkflowNotFoundException" if path == WORKFLOW_PATH else "ModelNotFoundException")

    def close(self):
        self.closed = True
        self.server.shutdown()
        self.server.server_close()


def between(body: bytes) -> bytes:
    """The means of neighbours, RGB or planes."""
    frames = np.load(io.BytesIO(body))
    return encode_npy(((frames[:-1].astype(int) + frames[1:]) // 2).astype(np.uint8))


def streamed(frames: bytes) -> bytes:
    """The frames of an answer as the parts of a stream."""
    parts = [encode_npy(frame[None]) for frame in decode_npy(frames, max_pixels=1 << 30, max_frames=1 << 30)]
    return b"".join(as_part(part, "application/x-npy") for part in parts) + stream_end()


def envelope(code: int, kind: str, message: str = "told so", **more: object) -> bytes:
    return json.dumps({"code": code, "type": kind, "message": message} | more).encode()


def mean(a, b):
    return ((a.astype(int) + b) // 2).astype(np.uint8)
