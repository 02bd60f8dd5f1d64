"""The client chains the nodes itself: frames to the encoder, its ticket to dit_decoder, frames back as they come."""

import time
from collections.abc import Iterator

from locust import tag, task

from eden_client.errors import envelope_in
from loadtest import _events as events
from loadtest import _setup  # noqa: F401
from loadtest._answers import WrongAnswer, check, decode
from loadtest._user import BROKEN, EdenHttpUser, answer_of, judged

ENCODER, DECODER = "/predictions/eden__encoder", "/predictions/eden__dit_decoder"


class ChainUser(EdenHttpUser):
    """Sends clips; the answer is streamed, so its first frame comes long before its last."""

    @tag("chain")
    @task
    def clip(self) -> None:
        """One clip, in two calls."""
        started = time.perf_counter()
        clip, seed, compare = self.next_request(self.asked.clip)
        headers = self.shared.headers() | {"Content-Type": clip.content_type, "X-Eden-Seed": str(seed)}
        try:
            with (
                self.client.post(
                    ENCODER, data=clip.body, headers=headers, catch_response=True, allow_redirects=False
                ) as reply,
                judged(reply),
            ):
                ticket = answer_of(reply)
                if not ticket.startswith(b"EDEN-TICKET"):
                    raise WrongAnswer("no ticket")
            self._take(ticket, started, clip.count - 1, clip.size, compare)
        except BROKEN as error:
            self.pause_after(error, time.perf_counter() - started)

    def _take(self, ticket: bytes, started: float, count: int, size: tuple[int, int], compare) -> None:
        format = self.asked.streamed
        headers = self.shared.headers() | {
            "Content-Type": "application/octet-stream",
            "X-Eden-Format": format,
            "X-Eden-Stream": "1",
        }
        frames = []
        asked_at = time.perf_counter()
        call = self.client.post(
            DECODER, data=ticket, headers=headers, catch_response=True, stream=True, allow_redirects=False
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


def _parts(reply) -> Iterator[bytes]:
    """The parts of a multipart/x-mixed-replace answer, each as soon as it is there."""
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
    raise WrongAnswer("the stream broke off")
