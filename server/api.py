"""Calls to TorchServe's HTTP interfaces: register, describe, check readiness, infer; each with its token."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import requests

from server.http import request
from server.tokens import Tokens
from server.topology import AS, SPLIT, WORKFLOW, Topology

BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Api:
    """Calls to the TorchServe at these addresses, as starting, watching and registering need them."""

    url: str
    management_url: str
    tokens: Tokens

    def workflows(self) -> list[str]:
        """The names of the registered workflows."""
        return [each["workflowName"] for each in self._manage("GET", "/workflows").json()["workflows"]]

    def register(self, archive: str, workers: int = 1, timeout: float = 600) -> int:
        """Register an archive of the model store, a model (.mar) or workflow (.war), and wait until its workers are up.

        `archive`: the file's name, or "FILE as NAME" to register a model under another name.
        `workers`: how many, for a model whose yaml does not say. `timeout`: seconds.
        Returns the HTTP status: 200, or 409 if it is registered already. Raises requests.HTTPError for any other.
        """
        file, _, named = archive.partition(AS)
        name = named or PurePath(file).stem
        if file.endswith(".war"):
            known, path, options = name in self.workflows(), "/workflows", {"url": file}
        else:
            known, path = bool(self.describe(name)), "/models"
            options = {"url": file, "initial_workers": str(workers), "synchronous": "true"}
            options |= {"model_name": named} if named else {}
        if known:  # TorchServe would unpack the archive once more before it says so, and leave that lying
            return 409
        return self._manage("POST", path, params=options, timeout=timeout, accept=(409,)).status_code

    def workers(self, model: str) -> list[dict[str, Any]]:
        """The workers of a model as TorchServe describes them (`id`, `pid`, `status`, ...); none if it is unknown."""
        workers: list[dict[str, Any]] = self.describe(model).get("workers", [])
        return workers

    def describe(self, model: str) -> dict[str, Any]:
        """A model as TorchServe describes it (`batchSize`, `maxBatchDelay`, `workers`, ...); empty if it is unknown."""
        reply = self._manage("GET", f"/models/{model}", accept=(404,))
        return {} if reply.status_code == 404 else reply.json()[0]

    def registration(self) -> dict[str, str]:
        """What autostart reports of the registration: `state` ("waiting", "registered", "failed") and `detail`."""
        reply = self.call("/predictions/autostart", data=b"?", timeout=10)
        return reply.json() if reply.status_code == 200 else {"state": "waiting", "detail": reply.text}

    def is_serving(self, topology: Topology = SPLIT) -> bool:
        """Whether each model has workers, all of them ready, and the workflow, if the topology has one, is listed."""
        if topology.has_workflow and WORKFLOW not in self.workflows():
            return False
        return all(_all_ready(self.workers(model)) for model in topology.models)

    def without_worker(self, models: Sequence[str]) -> list[str]:
        """The models that have no worker up. A model with one of two workers up still serves, and is not among them."""
        return [model for model in models if all(each["status"] != "READY" for each in self.workers(model))]

    def answers(self, node: str, within: float) -> bool:
        """Whether a node answers an empty request, by refusing it, within `within` seconds.

        A worker that TorchServe lists as READY may never answer again: it hangs, or its thread in Java has died.
        """
        try:
            self.call(f"/predictions/{node}", data=b"", headers=BINARY, timeout=within)
        except requests.ReadTimeout:
            return False
        return True

    def call(self, path: str, timeout: float = 120, **options: Any) -> requests.Response:
        """POST to the inference interface with its token. `timeout`: seconds. Raises requests' errors."""
        headers = self.tokens.headers("inference") | options.pop("headers", {})
        return request("POST", f"{self.url}{path}", headers=headers, timeout=timeout, **options)

    def _manage(
        self, method: str, path: str, timeout: float = 10, accept: tuple[int, ...] = (), **options: Any
    ) -> requests.Response:
        headers = self.tokens.headers("management")
        reply = request(method, f"{self.management_url}{path}", headers=headers, timeout=timeout, **options)
        if reply.status_code != 200 and reply.status_code not in accept:
            raise requests.HTTPError(f"{reply.url} answered {reply.status_code} {reply.reason}", response=reply)
        return reply


def _all_ready(workers: list[dict[str, Any]]) -> bool:
    return bool(workers) and all(worker["status"] == "READY" for worker in workers)
