"""Films: clips of --clip frames, each as soon as the last is answered."""

from locust import tag, task

from loadtest import _setup  # noqa: F401
from loadtest._user import EdenHttpUser


class BatchUser(EdenHttpUser):
    """Sends clip after clip."""

    @tag("batch")
    @task
    def clip(self) -> None:
        """Send a clip."""
        self.send_clip()
