"""Waits until a server is ready: everything registered, all workers up, and a real call answered."""

import time
from collections.abc import Callable

import requests

from server.api import BINARY, Api
from server.topology import Topology
from server.watch import pair


class NotReady(RuntimeError):
    """The server did not become ready; the message says at which stage it was."""


def wait_until_ready(api: Api, topology: Topology, is_running: Callable[[], bool], timeout: float) -> None:
    """Return once the server answers a pair of frames on each path that it offers. timeout: seconds.

    Raises NotReady.
    """
    deadline = time.monotonic() + timeout
    stage = "its management interface did not answer"
    while time.monotonic() < deadline:
        if not is_running():
            raise NotReady("TorchServe ended while it was starting.")
        try:
            if not api.is_serving(topology):
                registration = api.registration()
                if registration["state"] == "failed":
                    raise NotReady(f"{registration['detail']}")
                stage = f"{', '.join(topology.models)} did not get all their workers"
            elif complaint := _complaint(api, topology, deadline - time.monotonic()):
                stage = complaint
            else:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass  # not listening yet
        except requests.HTTPError as error:
            stage = f"its management interface answered {error.response.status_code}: {error.response.text[:300]}"
        except ValueError as error:  # a key file that is being written: on a busy machine that takes seconds
            stage = str(error)
        time.sleep(0.2)
    raise NotReady(f"TorchServe was not ready after {timeout:.0f} s: {stage}.")


def _complaint(api: Api, topology: Topology, seconds: float) -> str | None:
    for path in topology.paths:
        reply = api.call(path, data=pair(), headers=BINARY, timeout=max(1.0, seconds))
        # Inside a workflow every answer is a 200: an error is a JSON body in place of a picture.
        if reply.status_code != 200 or reply.content.startswith(b"{"):
            return f"a pair sent to {path} was answered with {reply.status_code}: {reply.text[:300]}"
    return None
