"""A camera: pairs at a set rate, one in flight."""

import random

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._camera import Camera
from loadtest._user import EdenHttpUser


class StreamingUser(EdenHttpUser):
    """Sends a pair whenever the next one is due; one that falls due while another is in flight is skipped."""

    def on_start(self) -> None:
        """The stream begins."""
        super().on_start()
        self.camera = Camera(self.options.rate, phase=random.random())

    def lengths(self) -> tuple[int, ...]:
        """Pairs."""
        return (2,)

    @tag("streaming")
    @task
    def pair(self) -> None:
        """One pair."""
        self.send_pair(self.camera)
