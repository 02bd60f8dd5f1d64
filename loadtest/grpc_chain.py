"""Clips by two calls over TorchServe's gRPC: Predictions of the encoder, then of dit_decoder."""

import time

import grpc.experimental.gevent as grpc_gevent
from locust import tag, task

from eden_client.api.errors import EdenError, envelope_in
from eden_client.api.traffic import Traffic
from loadtest import _events as events
from loadtest import _setup  # noqa: F401
from loadtest._answers import WrongAnswer, check
from loadtest._user import TIMEOUT, EdenUser

ENCODER, DECODER = "eden__encoder", "eden__dit_decoder"


class GrpcUser(EdenUser):
    """Sends clips over gRPC, with the token as metadata."""

    routes = ("workflow",)

    def on_start(self) -> None:
        """Open this user's channel."""
        super().on_start()
        grpc_gevent.init_gevent()  # here, not at import: --processes forks after loading
        from eden_client.api.grpc_route import GrpcConnection

        self.server = GrpcConnection(self.options.grpc, self.shared.token_at(self.options.grpc), Traffic())

    def on_stop(self) -> None:
        """Close the channel."""
        self.server.close()

    @tag("grpc")
    @task
    def clip(self) -> None:
        """Send a clip, in two calls."""
        started = time.perf_counter()
        clip, seed, compare = self.next_request(self.asked.clip)
        options = {"seed": str(seed).encode(), "format": self.asked.answer.encode()}
        ticket = self._call(ENCODER, clip.fields | options)
        body = self._call(DECODER, {"data": ticket}) if ticket else None
        if not body:
            return
        seconds = time.perf_counter() - started
        try:
            check(body, self.asked.answer, clip.count - 1, clip.size)
            compare(body)
        except (EdenError, WrongAnswer) as error:
            events.failed(self.environment, "gRPC", "answer", seconds, error)
            self.pause_after(error, seconds)
            return
        self.note(events.FIRST, seconds)
        self.note(events.FRAME, seconds, clip.count - 1)

    def _call(self, model: str, fields: dict[str, bytes]) -> bytes | None:
        started = time.perf_counter()
        problem: Exception | None = None
        answer = b""
        try:
            answer = self.server.call(model, fields, TIMEOUT)
            if error := envelope_in(answer):
                raise error
        except EdenError as error:
            problem = error
        seconds = time.perf_counter() - started
        self.environment.events.request.fire(
            request_type="gRPC",
            name=model,
            response_time=1e3 * seconds,
            response_length=len(answer),
            exception=problem,
            context={},
        )
        if problem:
            self.pause_after(problem, seconds)
            return None
        return answer
