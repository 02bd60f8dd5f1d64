"""Which configuration a TorchServe read, told from its command line and folder alone."""

import os
import subprocess
import sys

import psutil
import pytest

from server.running import api_of, called_at, metrics_url_of


@pytest.fixture
def running(tmp_path):
    """A process that stands in for Java: with these arguments and variables, in tmp_path."""
    started = []

    def _running(*arguments: str, **variables: str) -> psutil.Process:
        child = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **variables},
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()
        started.append(child)
        return psutil.Process(child.pid)

    yield _running
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_without_any_configuration_it_is_torchserves_own_default(running):
    assert running and api_of(running()).management_url == "http://127.0.0.1:8081"


def test_the_file_it_was_told_comes_first_then_the_last_snapshot_then_the_folders_file(running, tmp_path):
    def write(name: str, port: int) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"management_address=http\\://0.0.0.0\\:{port}\n")

    write("config.properties", 1)
    assert api_of(running()).management_url == "http://127.0.0.1:1"
    write("logs/config/1-shutdown.cfg", 2)
    os.utime(tmp_path / "logs/config/1-shutdown.cfg", (0, 0))
    write("logs/config/0-shutdown.cfg", 3)
    write("logs/config/2-startup.cfg", 4)
    assert api_of(running()).management_url == "http://127.0.0.1:3"
    assert api_of(running("-ncs")).management_url == "http://127.0.0.1:1"
    write("other", 5)
    api = api_of(running("-f", "other"))
    assert api.management_url == "http://127.0.0.1:5"
    assert api.tokens.path == tmp_path / "key_file.json"


def test_each_interface_is_where_the_configuration_has_it(running, tmp_path):
    assert (api_of(running()).url, metrics_url_of(running())) == (
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8082/metrics",
    )
    lines = (
        "inference_address=http://0.0.0.0:1",
        "management_address=http://127.0.0.1:2",
        "metrics_address=http://h:3",
    )
    (tmp_path / "config.properties").write_text("\n".join(lines))
    api = api_of(running())
    assert (api.url, api.management_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert metrics_url_of(running()) == "http://h:3/metrics"


def test_the_environment_counts_only_where_the_configuration_lets_it(running, tmp_path):
    file = tmp_path / "config.properties"
    file.write_text("management_address=http://127.0.0.1:1\n")
    variable = {"TS_MANAGEMENT_ADDRESS": "http://127.0.0.1:9"}
    assert api_of(running(**variable)).management_url == "http://127.0.0.1:1"
    file.write_text("enable_envvars_config=true\n")
    assert api_of(running(**variable)).management_url == "http://127.0.0.1:9"


def test_where_it_is_called_from_elsewhere_is_read_from_the_same_places(running, tmp_path):
    file = tmp_path / "config.properties"
    assert called_at(running()) == {}
    file.write_text("inference_address=http\\://0.0.0.0\\:8080\ngrpc_inference_address=127.0.0.1\n")
    assert called_at(running()) == {"inference_address": "0.0.0.0", "grpc_inference_address": "127.0.0.1"}
    file.write_text("inference_address=https://[2001:db8::1]:8443\nenable_envvars_config=true\n")
    assert called_at(running()) == {"inference_address": "2001:db8::1"}
    assert called_at(running(TS_INFERENCE_ADDRESS="http://192.0.2.1:1")) == {"inference_address": "192.0.2.1"}
