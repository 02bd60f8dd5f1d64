"""The chain over gRPC: TorchServe's inference service (its inference.proto), described here field by field.

A description in place of generated code: two messages are all that is needed, and generated code is tied to the
protobuf release that made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from eden_client.api.carriers import FromBody
from eden_client.api.errors import EdenError, Refused, ServerBusy, ServerFailed, ServerLost, TokenRejected
from eden_client.api.routes import DECODER, ENCODER, Terms, check_ticket, frames_in
from eden_client.api.sessions import grpc_proxy_note, is_loopback, is_tls, with_scheme
from eden_client.api.tls import root_certificates, tls_note
from eden_client.api.tokens import Token
from eden_client.api.traffic import Traffic
from eden_client.api.transport import BodyFormat, pack_fields
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame

PACKAGE = "org.pytorch.serve.grpc.inference"
SERVICE = f"/{PACKAGE}.InferenceAPIsService"


def _messages() -> tuple[type[Any], type[Any]]:
    """TorchServe's PredictionsRequest and PredictionResponse."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="eden_client/inference.proto", package=PACKAGE, syntax="proto3")
    request = file.message_type.add(name="PredictionsRequest")
    request.field.add(name="model_name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry = request.nested_type.add(name="InputEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    of_entries = f".{PACKAGE}.PredictionsRequest.InputEntry"
    request.field.add(name="input", number=3, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=of_entries)
    response = file.message_type.add(name="PredictionResponse")
    response.field.add(name="prediction", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{PACKAGE}.{m.name}") for m in (request, response))
    return tuple(message_factory.GetMessageClass(each) for each in found)


_Request, _Response = _messages()


def target_of(server: str) -> str:
    """host:port of an address. Raises ValueError: gRPC's other kinds of address would go past what is checked here."""
    parts = urlsplit(with_scheme(server))
    try:
        is_one = parts.scheme in ("http", "grpc", "https", "grpcs") and parts.hostname and (parts.port or True)
    except ValueError:
        is_one = False
    if not is_one or "@" in parts.netloc or parts.path.strip("/") or parts.query:
        raise ValueError(f"{server}: no address for gRPC such as host:port or grpcs://host:port")
    return parts.netloc


class GrpcConnection:
    """One TorchServe's gRPC inference port: host:port, or grpcs://host:port (or https://) for TLS.

    ca_file  of the authorities to trust by TLS (default: the environment's, see `tls.ca_bundle`)

    Any number of threads may call it. Raises ValueError for another kind of address.
    """

    def __init__(self, server: str, token: Token, traffic: Traffic, ca_file: Path | None = None) -> None:
        self.target = target_of(server)
        self._token, self._traffic = token, traffic
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if is_loopback(self.target):
            options.append(("grpc.enable_http_proxy", 0))
        if is_tls(server):
            credentials = grpc.ssl_channel_credentials(root_certificates(ca_file))
            self._channel = grpc.secure_channel(self.target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(self.target, options)
        kinds = {
            "request_serializer": _Request.SerializeToString,
            "response_deserializer": _Response.FromString,
        }
        self._predict = self._channel.unary_unary(f"{SERVICE}/Predictions", **kinds)
        self._stream = self._channel.unary_stream(f"{SERVICE}/StreamPredictions", **kinds)

    def call(self, model: str, fields: dict[str, bytes], within: float, step: Step = UNTRACED) -> bytes:
        """One message back, within so many seconds. Raises EdenError.

        step: of a trace, that this is part of.
        """
        with step.child(f"Predictions {model}") as sending:
            return sending.heard(b"".join(self._messages(self._predict, model, fields | sending.fields, within)))

    def streamed(self, model: str, fields: dict[str, bytes], within: float, step: Step = UNTRACED) -> Iterator[bytes]:
        """Messages as they come, the last one within so many seconds. Raises EdenError."""
        with step.child(f"StreamPredictions {model}") as sending:
            yield from sending.overhear(self._messages(self._stream, model, fields | sending.fields, within))

    def close(self) -> None:
        self._channel.close()

    def _messages(self, method: Any, model: str, fields: dict[str, bytes], within: float) -> Iterator[bytes]:
        token = self._token.current()
        try:
            yield from self._attempt(method, model, fields, token, within)
        except TokenRejected:  # it comes before the first message, so nothing is given out twice
            self._token.replace(token)
            yield from self._attempt(method, model, fields, self._token.current(), within)

    def _attempt(
        self, method: Any, model: str, fields: dict[str, bytes], token: str | None, within: float
    ) -> Iterator[bytes]:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        request = _Request(model_name=model, input=fields)
        self._traffic.add(calls=1, bytes_sent=sum(map(len, fields.values())))
        try:
            with self._traffic.timed("server_seconds"):
                answer = method(request, timeout=within, metadata=metadata)
                messages = iter([answer] if isinstance(answer, _Response) else answer)
                message = next(messages, None)
            while message is not None:
                self._traffic.add(bytes_received=len(message.prediction))
                yield message.prediction
                with self._traffic.timed("server_seconds"):
                    message = next(messages, None)
        except grpc.RpcError as error:
            raise self._as_ours(error) from error

    def _as_ours(self, error: Any) -> EdenError:
        code, details = error.code(), str(error.details() or "")
        where = f"{self.target}: {details}"
        if code is grpc.StatusCode.UNAVAILABLE:
            where += tls_note(details) + grpc_proxy_note(self.target)
        kinds: dict[Any, type[EdenError]] = {
            grpc.StatusCode.UNAVAILABLE: ServerLost,
            grpc.StatusCode.DEADLINE_EXCEEDED: ServerLost,
            grpc.StatusCode.CANCELLED: ServerLost,
            grpc.StatusCode.NOT_FOUND: ServerLost,
            grpc.StatusCode.RESOURCE_EXHAUSTED: ServerBusy,
            grpc.StatusCode.INVALID_ARGUMENT: Refused,
            grpc.StatusCode.UNAUTHENTICATED: TokenRejected,
            grpc.StatusCode.PERMISSION_DENIED: TokenRejected,
        }
        kind = TokenRejected if "Token Authorization failed" in details else kinds.get(code, ServerFailed)
        return kind(where, None, code.name)


def _hear_out(messages: Iterator[bytes]) -> None:
    """Wait for the end of a call whose last message has come: TorchServe ends the worker of a caller who leaves in the
    very moment in which it ends the call itself."""
    with suppress(EdenError):
        for _ in messages:
            pass


@dataclass(frozen=True)
class GrpcRoute:
    """The encoder gives a ticket, the decoder turns it into a stream of frames.

    They come together, unless the decoder's server has `grpc_streaming: true`.
    """

    encoder: GrpcConnection
    decoder: GrpcConnection
    transport: BodyFormat
    terms: Terms
    traffic: Traffic

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        assert yuv is None, "by gRPC frames go as RGB"
        with self.traffic.timed("send_seconds"):
            fields = pack_fields(frames, self.transport)
        ticket = check_ticket(self.encoder.call(ENCODER, fields | self.terms.fields(2 * within), within, step))
        asked = {"data": ticket, "format": self.transport.encode(), "stream": b"1"}
        carried = FromBody(len(frames) - 1, frames[0].shape)
        chunks = self.decoder.streamed(DECODER, asked, within, step)
        try:
            yield from frames_in(chunks, carried)
        except EdenError:
            _hear_out(chunks)
            raise
        _hear_out(chunks)  # spans come behind the last frame

    def close(self) -> None:
        self.encoder.close()
        self.decoder.close()
