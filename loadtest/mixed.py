"""Cameras and films on one server, in the proportion that --mix says."""

import random

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._camera import Camera
from loadtest._options import numbers
from loadtest._user import EdenHttpUser


class MixedUser(EdenHttpUser):
    """Sends pairs as a camera does, and now and then a clip."""

    def on_start(self) -> None:
        """The stream begins now."""
        super().on_start()
        self.weights = numbers(self.options.mix, ":", "--mix")
        self.camera = Camera(self.options.rate, phase=random.random())

    def lengths(self) -> tuple[int, ...]:
        """Pairs and clips."""
        return 2, self.asked.clip

    @tag("mixed")
    @task
    def pair_or_clip(self) -> None:
        """One of the two; the pairs that fall due during a clip are skipped."""
        (pair,) = random.choices((True, False), self.weights)
        if pair:
            self.send_pair(self.camera)
        else:
            self.send_clip()
