"""The client: sends frames and returns those between; it retries while a server is away or busy."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import uniform
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from eden_client.api.adaptive_timeout import AdaptiveTimeout, Timed
from eden_client.api.errors import EdenError, Refused, ServerAway, ServerFailed, ServerLost, ServerTrouble, TooLarge
from eden_client.api.in_thread import in_thread
from eden_client.api.local import token_for
from eden_client.api.open_route import RouteName, open_route, takes_planes
from eden_client.api.regions import RegionPool
from eden_client.api.routes import Terms
from eden_client.api.sessions import TokenInClear, clear_note, is_loopback
from eden_client.api.tokens import KeyFile, Token
from eden_client.api.traffic import Traffic
from eden_client.api.transport import Transport
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import Step, Trace, begun
from media import Frame
from media.frame_layout import are_planes
from media.region_format import FOLDER
from media.terms import Priority

Picture = Frame | Image.Image

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds between attempts: the first pause, doubled each time up to the longest."""

FAILURES = 6
"""Attempts at a request on which the server fails: unlike an absence, the request may be the cause."""

JITTER = 1.25
"""A client waits up to this many times the required pause, so that clients refused together do not return together."""


class EdenClient:
    """A client of one EDEN server, or of two: one that encodes, one that decodes.

    server          its inference address, e.g. "http://127.0.0.1:8080" (for `route="grpc"`: host:port of gRPC)
    token           an inference token, if there is no key file to read it from
    key_file        TorchServe's key_file.json: read before each call, renewed when it has expired
    management      the management address, where tokens are renewed (default: what the key file's own server says,
                    if `server` is that one; else they are not renewed)
    route           "auto": what the server offers, fused before the workflow (and the chain while that is busy), or the
                    chain where there are two servers; live pairs go by eden_live where that is offered;
                    "fused": both halves in one model, a clip's frames streamed back; "workflow": one call for both;
                    "chain": encoder and decoder in turn, frames streamed back; "grpc": the same over gRPC
    ca_file         certificates (PEM) of the authorities to trust by https:// and, for gRPC, grpcs:// (default: what
                    REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE names, else certifi's)
    decoder_*       the second server of a chain (default: the first)
    transport       "region": in memory shared with a server of this host; "npy" or "png": in bodies; all lossless.
                    "auto": region where the server is at a loopback address and can open it, else npy; by gRPC npy
    region_folder   where regions are made: what the server's setting handler.regions names
    seed            of the noise: equal seeds give equal frames
    priority        place in the server's queue: "live" first, then "interactive" (the server's default), then "batch"
    timeout         seconds without a byte after which a call counts as lost; the first attempt may get fewer
                    (see AdaptiveTimeout). The server is told, and skips work that would come too late
    patience        seconds to wait for a server that is away or busy, if it or its gateway has answered before
    wait_for_server also wait these seconds for a server that has never answered, as it may still be starting
    window          most calls at once
    on_trouble      called with the error of every attempt that is tried again
    trace           records the spans of all requests, with the server's (see trace.recording.Trace)

    Warns (TokenInClear) if a token would travel unencrypted to another machine.

    Methods may be called from any thread, and raise EdenError. Frames are RGB: arrays [H, W, 3] uint8 or Pillow images.
    With `yuv` they are planes of that format, arrays [H*3/2, W] uint8, and so are the frames between (see YuvFormat).
    If the server calls a clip too large and says how many such frames it accepts, this and later clips of that size are
    sent as several that share a frame.
    """

    def __init__(
        self,
        server: str = "http://127.0.0.1:8080",
        *,
        token: str | None = None,
        key_file: str | Path | None = None,
        management: str | None = None,
        route: RouteName = "auto",
        decoder_server: str | None = None,
        decoder_token: str | None = None,
        decoder_key_file: str | Path | None = None,
        decoder_management: str | None = None,
        ca_file: str | Path | None = None,
        transport: Transport = "auto",
        region_folder: str | Path = FOLDER,
        seed: int = 0,
        priority: Priority | None = None,
        timeout: float = 300.0,
        patience: float = 120.0,
        wait_for_server: bool = False,
        window: int = 8,
        on_trouble: Callable[[ServerTrouble], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.traffic, self.trace = Traffic(), trace
        self.window, self.seed = window, seed
        self._patience, self.on_trouble, self._seen = patience, on_trouble, wait_for_server
        self._pace = AdaptiveTimeout(timeout, window)
        self._closed = threading.Event()
        self._largest: dict[tuple[int, ...], int] = {}
        """most frames per clip, by their shape, as the server has said"""
        authorities = _path(ca_file)
        encoder = server, token_for(server, token, _path(key_file), management, authorities)
        _warn_in_clear(*encoder)
        decoder = None
        if decoder_server:
            decoder_keys = _path(decoder_key_file)
            second = token_for(decoder_server, decoder_token, decoder_keys, decoder_management, authorities)
            _warn_in_clear(decoder_server, second)
            decoder = decoder_server, second
        shares = route != "grpc" and is_loopback(server) and is_loopback(decoder_server or server)
        self._regions: RegionPool | None = None
        if transport == "region" or (transport == "auto" and shares and Path(region_folder).is_dir()):
            self._regions = RegionPool(Path(region_folder))
        self.takes_planes = takes_planes(route, transport)
        """Whether planes can be sent as they are; by gRPC and as PNG they are sent as RGB."""
        self._route = open_route(
            route, encoder, decoder, authorities, transport, self._regions, Terms(seed, priority), self.traffic, window
        )

    def interpolate_pair(self, first: Picture, second: Picture, yuv: YuvFormat | None = None) -> Frame:
        """The frame halfway between two: [H, W, 3] uint8."""
        (frame,) = self.between([first, second], yuv)
        return frame

    def interpolate_clip(self, frames: Sequence[Picture], yuv: YuvFormat | None = None) -> Frame:
        """The K-1 frames between K ≥ 2 frames: [K-1, H, W, 3] uint8. All are sent and encoded in one call."""
        return np.stack(list(self.between(frames, yuv)))

    def stream(self, frames: Iterable[Picture], yuv: YuvFormat | None = None) -> Iterator[Frame]:
        """The frames between the frames of a film of any length, in order, each as soon as it is available.

        `frames` is read at most `window` pairs ahead; fewer than two frames give nothing. Leaving the loop early does
        not wait: calls under way end by themselves, in daemon threads.
        """
        pending: deque[Future[Frame]] = deque()
        left = threading.Event()

        def pair(first: Frame, second: Frame) -> Frame:
            (frame,) = self._between([first, second], yuv, left)
            return frame

        try:
            previous: Frame | None = None
            # Read here: two threads that load one picture of a file at the same time fail.
            for frame in map(_pixels, frames):
                if previous is not None:
                    pending.append(in_thread(pair, previous, frame))
                previous = frame
                while pending and (len(pending) >= self.window or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            left.set()

    def between(
        self, frames: Sequence[Picture], yuv: YuvFormat | None = None, within: Step | None = None
    ) -> Iterator[Frame]:
        """The K-1 frames between K ≥ 2 frames, each as soon as it is available; lost ones are asked for again.

        within: the trace's step that this is part of.
        """
        return self._between(frames, yuv, self._closed, within)

    def _between(
        self, frames: Sequence[Picture], yuv: YuvFormat | None, left: threading.Event, within: Step | None = None
    ) -> Iterator[Frame]:
        """As `between`; once `left` is set, nobody waits for the frames, and nothing is asked for again."""
        clip = _as_clip(frames, yuv)
        with begun(self.trace, within, "request") as request:
            request.note(frames=len(clip), shape="x".join(map(str, clip[0].shape)))
            yield from self._attempts(clip, yuv, left, request)

    def _attempts(
        self, clip: list[Frame], yuv: YuvFormat | None, left: threading.Event, request: Step
    ) -> Iterator[Frame]:
        trouble_since: float | None = None
        pause, failures, done = FIRST_PAUSE, 0, 0
        while done < len(clip) - 1:
            part = clip[done : done + self._largest.get(clip[0].shape, len(clip))]
            size = sum(frame.nbytes for frame in part)
            within = self._pace.timeout if trouble_since else self._pace.limit(size)
            attempt = request.child("attempt")
            answer = Timed(self._route.between(part, within, yuv, attempt))
            try:
                for frame in answer:
                    done += 1
                    self._seen, trouble_since, pause = True, None, FIRST_PAUSE
                    self.traffic.add(pairs=1)
                    yield frame
                self._pace.answered(size, answer.seconds)
            except TooLarge as error:
                attempt.end(error)
                if error.largest_clip is None or not 2 <= error.largest_clip < len(part):
                    raise
                self._largest[clip[0].shape] = error.largest_clip
            except ServerTrouble as error:
                attempt.end(error)
                now = time.monotonic()
                trouble_since = trouble_since or now
                failures += isinstance(error, ServerFailed)
                if left.is_set() or self._hopeless(error, now - trouble_since, failures):
                    raise
                self.traffic.add(retries=1)
                if self.on_trouble:
                    self.on_trouble(error)
                asked = max(pause, error.retry_after or 0.0) * uniform(1, JITTER)
                with request.child("retry_wait"):
                    if left.wait(min(asked, max(pause, self._patience - (now - trouble_since)))):
                        raise
                pause = min(2 * pause, LONGEST_PAUSE)
            except EdenError as error:
                attempt.end(error)
                raise
            finally:
                attempt.end()

    def _hopeless(self, error: ServerTrouble, seconds: float, failures: int) -> bool:
        if not self._seen and not isinstance(error, ServerAway) and (isinstance(error, ServerLost) or not error.kind):
            return True  # a wrong address, or no server of ours at all
        return seconds > self._patience or failures >= FAILURES

    def close(self) -> None:
        """Close connections and regions. Calls under way in other threads are not tried again."""
        self._closed.set()
        self._route.close()
        if self._regions:
            self._regions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _warn_in_clear(server: str, token: Token) -> None:
    """Warn with TokenInClear if this token, or the key that renews it, would travel unencrypted."""
    places = list[str]()
    if isinstance(token, KeyFile):
        places += [server, token.management_url or ""]
    elif token.current():
        places.append(server)
    for place in places:
        if place and (note := clear_note(place)):
            warnings.warn(note, TokenInClear, stacklevel=3)


def _path(named: str | Path | None) -> Path | None:
    return None if named is None else Path(named)


def _as_clip(frames: Sequence[Picture], yuv: YuvFormat | None) -> list[Frame]:
    """Frames of any kind as uint8 arrays of one size. Raises Refused: fewer than two, or not such arrays."""
    clip = [_pixels(frame) for frame in frames]
    if len(clip) < 2:
        raise Refused(f"{len(clip)} frame{'s' * (len(clip) != 1)}: at least two are needed")
    for frame in clip:
        if frame.dtype != np.uint8 or not (_is_rgb(frame) if yuv is None else are_planes(frame.shape)):
            wanted = "[H, W, 3]" if yuv is None else "[H*3/2, W] with even H and W"
            raise Refused(f"a frame must be uint8 {wanted}, not {frame.dtype} {list(frame.shape)}")
        if frame.shape != clip[0].shape:
            raise Refused(f"frames of a clip have one size, not {list(clip[0].shape)} and {list(frame.shape)}")
    return clip


def _pixels(picture: Picture) -> Frame:
    return np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)


def _is_rgb(frame: Frame) -> bool:
    return frame.ndim == 3 and frame.shape[2] == 3
