"""Cameras: pairs at --rate per second, one in flight at a time."""

import random

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._camera import Camera
from loadtest._user import EdenHttpUser


class StreamingUser(EdenHttpUser):
    """Sends each pair when it is due. A pair that is due while another is in flight is skipped."""

    def on_start(self) -> None:
        """Start the camera."""
        super().on_start()
        self.camera = Camera(self.options.rate, phase=random.random())

    def lengths(self) -> tuple[int, ...]:
        """2 frames."""
        return (2,)

    @tag("streaming")
    @task
    def pair(self) -> None:
        """Send a pair."""
        self.send_pair(self.camera)
