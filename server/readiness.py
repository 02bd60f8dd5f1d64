"""When a server is really ready: its workflow listed, both nodes' workers up, and a real call answered."""

import io
import time
from collections.abc import Callable

import numpy as np
import requests

from server.api import BINARY, WORKFLOW, Api


class NotReady(RuntimeError):
    """The server did not become ready; the message says how far it came."""


def wait_until_ready(api: Api, is_running: Callable[[], bool], timeout: float) -> None:
    """Return once a pair of frames sent through the workflow is answered. Raises NotReady."""
    deadline = time.monotonic() + timeout
    stage = "its management interface did not answer"
    while time.monotonic() < deadline:
        if not is_running():
            raise NotReady("TorchServe ended while it was starting.")
        try:
            if not api.is_serving():
                registration = api.registration()
                if registration["state"] == "failed":
                    raise NotReady(f"The workflow could not be registered: {registration['detail']}")
                stage = f"the workflow {WORKFLOW!r} did not get all its workers"
            elif complaint := _complaint(api, deadline - time.monotonic()):
                stage = f"a pair sent to /wfpredict/{WORKFLOW} was answered with {complaint}"
            else:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass  # not listening yet
        except requests.HTTPError as error:
            stage = f"its management interface answered {error.response.status_code}: {error.response.text[:300]}"
        time.sleep(0.2)
    raise NotReady(f"TorchServe was not ready after {timeout:.0f} s: {stage}.")


def pair() -> bytes:
    """Two frames of 64x64 as .npy: a gradient that moves by four pixels."""
    row = np.arange(64, dtype=np.uint8) * 3
    frames = np.stack([np.roll(row, shift) for shift in (0, 4)])
    body = io.BytesIO()
    np.save(body, np.broadcast_to(frames[:, None, :, None], (2, 64, 64, 3)).copy())
    return body.getvalue()


def _complaint(api: Api, seconds: float) -> str | None:
    reply = api.call(f"/wfpredict/{WORKFLOW}", data=pair(), headers=BINARY, timeout=max(1.0, seconds))
    # Inside a workflow every answer is a 200: an error is a JSON body in place of a picture.
    if reply.status_code == 200 and not reply.content.startswith(b"{"):
        return None
    return f"{reply.status_code}: {reply.text[:300]}"
