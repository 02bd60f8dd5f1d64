"""Cameras and films on one server, in the proportion of --mix."""

import random

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._camera import Camera
from loadtest._options import numbers
from loadtest._user import EdenHttpUser


class MixedUser(EdenHttpUser):
    """Sends pairs as a camera does, and clips in between."""

    def on_start(self) -> None:
        """Start the camera."""
        super().on_start()
        self.weights = numbers(self.options.mix, ":", "--mix")
        self.camera = Camera(self.options.rate, phase=random.random())

    def lengths(self) -> tuple[int, ...]:
        """2 frames, and --clip frames."""
        return 2, self.asked.clip

    @tag("mixed")
    @task
    def pair_or_clip(self) -> None:
        """Send a pair or a clip. Pairs that are due during a clip are skipped."""
        (pair,) = random.choices((True, False), self.weights)
        if pair:
            self.send_pair(self.camera)
        else:
            self.send_clip()
