"""Clips to the fused model, which holds encoder and decoder, and streams the frames between."""

import time

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._stream import StreamedUser
from loadtest._user import BROKEN


class FusedUser(StreamedUser):
    """Sends a clip per call. The answer is streamed: its first frame comes long before its last."""

    routes = ("fused",)

    @tag("fused")
    @task
    def clip(self) -> None:
        """Send a clip."""
        started = time.perf_counter()
        clip, seed, compare = self.next_request(self.asked.clip)
        headers = {"Content-Type": clip.content_type, "X-Eden-Seed": str(seed)}
        try:
            self.take_stream(self.asked.path, clip.body, headers, started, clip.count - 1, clip.size, compare)
        except BROKEN as error:
            self.pause_after(error, time.perf_counter() - started)
