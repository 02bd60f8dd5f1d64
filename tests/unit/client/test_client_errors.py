"""The client's errors beside the server's own table: the two cannot drift apart."""

from __future__ import annotations

import json

import pytest

from eden_client import PayloadLost, Refused, ServerBusy, ServerFailed, TooLarge
from eden_client.api.errors import EdenError, envelope_in
from serving import errors

FOR_RETRY = {"never": (Refused,), "later": (ServerBusy, ServerFailed), "encode": (PayloadLost,)}


class Unforeseen(Exception):
    """None of the table's."""


def read(envelope: dict) -> EdenError:
    error = envelope_in(json.dumps(envelope).encode())
    assert error is not None
    return error


@pytest.mark.parametrize("kind", [*errors.TABLE, Unforeseen])
def test_each_error_of_a_server_is_what_its_table_says_of_a_retry(kind):
    code, retry = errors.TABLE.get(kind, errors.UNFORESEEN)
    envelope = errors.envelope(kind("told so"))
    error = read(envelope)
    assert isinstance(error, FOR_RETRY[retry])
    assert (error.code, error.kind) == (code, envelope["type"])
    assert type(read({key: envelope[key] for key in ("code", "type", "message")})) is type(error), "where it is silent"


@pytest.mark.parametrize(
    ("code", "retry", "error"),
    [
        (400, "never", Refused),
        (500, "never", Refused),
        (503, "later", ServerBusy),
        (500, "later", ServerFailed),
        (409, "later", ServerFailed),
        (400, "encode", PayloadLost),
        (503, "encode", PayloadLost),
        (418, "perhaps", Refused),
        (502, None, ServerFailed),
    ],
)
def test_an_error_that_the_client_does_not_know_is_what_its_envelope_says(code, retry, error):
    assert type(read({"code": code, "type": "New", "message": "told so", "retry": retry})) is error


def test_work_that_came_too_late_is_a_busy_server_not_a_lost_one():
    """By its status alone it would be a failure, of which there may be few."""
    assert type(read(errors.envelope(errors.DeadlinePassed("told so")))) is ServerBusy


def test_every_refusal_for_want_of_room_says_when_to_come_back():
    for error, seconds in (
        (errors.Overloaded("full", 2.1), 3),
        (errors.Overloaded("full", 1e9), errors.LATE),
        (errors.Overloaded("full", -5), errors.SOON),
        (errors.OverCapacity("the hand-off's"), errors.SOON),
        (errors.DeviceLost("gone"), 5),
    ):
        told = errors.envelope(error)
        assert (told["code"], told["retry_after"]) == (503, seconds)
        assert read(told).retry_after == seconds
    assert "retry_after" not in errors.envelope(errors.BadRequest("never"))


def test_what_is_too_large_says_how_much_is_not():
    error = read(errors.envelope(errors.TooLarge("a clip of 9 frames: at most 5 are taken at once", 5)))
    assert isinstance(error, TooLarge) and error.largest_clip == 5
    for largest in (None, "5", [5]):
        error = read({"code": 413, "type": "TooLarge", "message": "m", "retry": "never", "largest_clip": largest})
        assert isinstance(error, TooLarge) and error.largest_clip is None
