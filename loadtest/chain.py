"""Clips by two calls: frames to the encoder, then its ticket to dit_decoder, which streams the frames between."""

import time

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._answers import WrongAnswer
from loadtest._stream import StreamedUser
from loadtest._user import BROKEN, answer_of, judged

ENCODER, DECODER = "/predictions/eden__encoder", "/predictions/eden__dit_decoder"


class ChainUser(StreamedUser):
    """Sends clips to the two nodes itself. The answer is streamed: its first frame comes long before its last."""

    routes = ("workflow",)

    @tag("chain")
    @task
    def clip(self) -> None:
        """Send a clip, in two calls."""
        started = time.perf_counter()
        clip, seed, compare = self.next_request(self.asked.clip)
        headers = self.shared.headers() | {"Content-Type": clip.content_type, "X-Eden-Seed": str(seed)}
        try:
            with (
                self.client.post(
                    ENCODER,
                    data=clip.body,  # type: ignore[arg-type]  # it takes bytes, too
                    headers=headers,
                    catch_response=True,
                    allow_redirects=False,
                ) as reply,
                judged(reply),
            ):
                ticket = answer_of(reply)
                if not ticket.startswith(b"EDEN-TICKET"):
                    raise WrongAnswer("no ticket")
            binary = {"Content-Type": "application/octet-stream"}
            self.take_stream(DECODER, ticket, binary, started, clip.count - 1, clip.size, compare)
        except BROKEN as error:
            self.pause_after(error, time.perf_counter() - started)
