"""Takes streamed answers: each frame is checked and counted as soon as it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from eden_client.api.errors import envelope_in
from loadtest import _events as events
from loadtest._answers import WrongAnswer, check, decode
from loadtest._user import EdenHttpUser, answer_of, judged


class StreamedUser(EdenHttpUser):
    """A user whose answers are streamed, frame by frame."""

    abstract = True

    def take_stream(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        started: float,
        count: int,
        size: tuple[int, int],
        compare: Callable[[list[np.ndarray]], None],
    ) -> None:
        """Send `body`, and take `count` frames of `size` (H, W). Raises one of `BROKEN`.

        started   when the clip began, in seconds of time.perf_counter
        compare   is called with all frames, to check their pixels
        """
        format = self.asked.streamed
        headers = {**self.shared.headers(), **headers, "X-Eden-Format": format, "X-Eden-Stream": "1"}
        frames: list[bytes] = []
        asked_at = time.perf_counter()
        call = self.client.post(
            path,
            data=body,  # type: ignore[arg-type]  # it takes bytes, too
            headers=headers,
            catch_response=True,
            stream=True,
            allow_redirects=False,
        )
        with call as reply, judged(reply):
            try:
                if reply.status_code != 200:
                    answer_of(reply)
                for part in _parts(reply):
                    check(part, format, 1, size)
                    if not frames:
                        self.note(events.FIRST, time.perf_counter() - started)
                    self.note(events.FRAME, time.perf_counter() - started)
                    frames.append(part)
                if len(frames) != count:
                    raise WrongAnswer(f"{len(frames)} frames, {count} were asked for")
                compare([decode(part, format)[0] for part in frames])
            finally:
                reply.request_meta["response_time"] = 1e3 * (time.perf_counter() - asked_at)
                reply.request_meta["response_length"] = sum(map(len, frames))


def _parts(reply: Any) -> Iterator[bytes]:
    """The parts of a multipart/x-mixed-replace answer, each as soon as it arrives. Raises WrongAnswer: cut short."""
    stream = reply._response  # Locust's own reading waits for whole blocks
    while line := stream.readline():
        if line.startswith(b"--") and line.rstrip().endswith(b"--"):
            return
        length = None
        while line.strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
            line = stream.readline()
        if length is None:
            continue
        part = bytes(stream.read(length))
        if error := envelope_in(part):
            raise error
        if len(part) < length:
            break
        yield part
    raise WrongAnswer("the stream was cut short")
