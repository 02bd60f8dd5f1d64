"""Why a start failed, as its logs tell; and a launcher that starts nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from server import launch
from server.folder import ServerFolder
from server.launch import LaunchError, last_words

SINCE = "2026-11-27T12:00:00"
EARLIER = """\
2026-11-27T11:00:00,000 [ERROR] main org.pytorch.serve.ModelServer - failed
java.lang.IllegalStateException: of another day
"""
SERVER = f"""\
{EARLIER}2026-11-27T12:00:01,000 [INFO ] main org.pytorch.serve.ModelServer - Initializing plugins manager...
2026-11-27T12:00:02,000 [ERROR] main org.pytorch.serve.ModelServer - failed
java.net.BindException: Address already in use
\tat sun.nio.ch.Net.bind0(Native Method)
"""
MODELS = """\
2026-11-27T11:59:59,000 [INFO ] W-9000-stdout MODEL_LOG - ValueError: of another day
2026-11-27T12:00:03,000 [INFO ] W-9000-stdout MODEL_LOG - ValueError: precision is fp7
"""


@pytest.fixture
def place(tmp_path: Path) -> ServerFolder:
    found = ServerFolder(tmp_path / "server")
    found.claim()
    found.logs.mkdir()
    return found


def test_the_reasons_are_those_of_this_start_from_all_logs(place):
    (place.logs / "ts_log.log").write_text(SERVER)
    (place.logs / "model_log.log").write_text(MODELS)
    place.console.write_text("Invalid configuration: Unsupported value\n")
    assert last_words(place, SINCE).splitlines() == [
        "Invalid configuration: Unsupported value",
        "java.net.BindException: Address already in use",
        "ValueError: precision is fp7",
        f"Its logs are in {place.logs}.",
    ]


def test_where_no_log_has_a_reason_it_is_what_java_printed_last(place):
    (place.logs / "ts_log.log").write_text(EARLIER)
    place.console.write_text("Unrecognized VM option\n")
    assert last_words(place, SINCE).splitlines() == ["Unrecognized VM option", f"Its logs are in {place.logs}."]


def test_a_launcher_that_does_not_end_is_a_failed_start(place, monkeypatch, tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(launch, "LONGEST", 0.5)
    temporary = place.make_temporary()
    try:
        with pytest.raises(LaunchError, match=r"not ended within 0\.5 s"):
            launch.launch(place, temporary, tmp_path, {}, {})
    finally:
        place.clear(temporary)
