"""deploy/Dockerfile, built and run: not root, nothing written but where it may be, a pair answered, told to end.

By buildah without a registry: its base is a Debian that debootstrap makes. No container engine runs: namespaces are
enough.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import PROJECT

BASE = "localhost/debian-python"
IMAGE = "localhost/eden"
WRITABLE = {"/run/eden": "size=4g,uid=10001,gid=10001,mode=700", "/tmp": "size=1g,mode=1777", "/dev/shm": "mode=1777"}
LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))"
"""Loopback of a new network namespace is down: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING."""

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, mounts"),
    *(
        pytest.mark.skipif(
            not shutil.which(program), reason=f"{program} is not installed (Debian: apt install {program})"
        )
        for program in ("buildah", "debootstrap")
    ),
]

ASK = """
import io, json, os, pathlib, signal, subprocess, sys, time
import numpy, requests

def is_ready():
    try:
        return requests.get("http://127.0.0.1:8083/ready", timeout=10).ok
    except requests.RequestException:
        return False

while not is_ready():
    time.sleep(0.5)
for path in ("/", "/opt/eden", "/models", "/etc"):
    try:
        (pathlib.Path(path) / "written").touch()
    except OSError:
        continue
    sys.exit(f"{path} can be written")
key = json.loads(pathlib.Path("/run/eden/server/key_file.json").read_text())["inference"]["key"]
pair = io.BytesIO()
numpy.save(pair, numpy.zeros((2, 64, 64, 3), numpy.uint8))
for path in ("/wfpredict/eden", "/predictions/eden_fused"):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
    answer = requests.post("http://127.0.0.1:8080" + path, data=pair.getvalue(), headers=headers, timeout=300)
    assert numpy.load(io.BytesIO(answer.content)).shape == (1, 64, 64, 3), answer.content[:300]
subprocess.run(json.loads(sys.argv[1]), check=True)
assert requests.get("http://127.0.0.1:8083/live", timeout=60).ok
print("answered as", os.getuid(), os.getgid(), flush=True)
os.kill(1, getattr(signal, sys.argv[2]))
"""
"""Beside the server, which is process 1 as in a container. Arguments: its health check, and how it is told to end."""


def run(*command: object, **more: object) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=1500, **more)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command, with a store of its own that goes with the test."""
    folder = tmp_path_factory.mktemp("images")
    command = ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
    try:
        yield command
    finally:
        subprocess.run([*command, "unmount", "--all"], capture_output=True, timeout=300)
        subprocess.run([*command, "rm", "--all"], capture_output=True, timeout=300)
        subprocess.run([*command, "rmi", "--all", "--force"], capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def image(buildah: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The CPU's, from a Debian of this machine's own packages."""
    root = tmp_path_factory.mktemp("debian") / "root"
    run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root)
    container = run(*buildah, "from", "scratch")
    run(*buildah, "add", "--quiet", container, root, "/")
    run(*buildah, "commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(root)
    run(
        *(*buildah, "bud", "--isolation", "chroot", "--format", "docker", "--tag", IMAGE),
        *("--build-arg", f"BASE={BASE}", *_as_pip_is_told_here()),
        *("--file", PROJECT / "deploy" / "Dockerfile", PROJECT),
    )
    return IMAGE


def _as_pip_is_told_here() -> Iterator[str]:
    """Where this machine's pip looks besides, and whom it trusts; folders and files are mounted where they are here."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT"):
        told = os.environ.get(name)
        if told and name != "PIP_CERT":
            yield from ("--build-arg", f"{name}={told}")
        if told and Path(told).exists():
            place = told if Path(told).is_dir() else Path(told).parent
            yield from ("--volume", f"{place}:{place}:ro")


def test_it_serves_as_nobody_from_a_file_system_that_it_cannot_write(buildah: list[str], image: str, tmp_path: Path):
    container = run(*buildah, "from", image)
    root = run(*buildah, "mount", container)
    made = json.loads(run(*buildah, "inspect", "--type", "image", image))["Docker"]["config"]
    kind, *check = made["Healthcheck"]["Test"]
    assert kind == "CMD"
    enter = ["chroot", f"--userspec={made['User']}", root, "/usr/bin/env", "-i", "-C", made["WorkingDir"], *made["Env"]]
    lines = [
        "set -e",
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount --make-rslave {root}/dev",
        *(f"mount -t tmpfs -o {options} none {root}{place}" for place, options in WRITABLE.items()),
        f"mount -o remount,bind,ro {root}",
        f"python3 -c {shlex.quote(LOOPBACK_UP)}",
        f"({shlex.join([*enter, 'python', '-c', ASK, json.dumps(check), made['StopSignal']])} || kill 1) &",
        f"exec {shlex.join([*enter, *made['Entrypoint'], *made['Cmd']])}",
    ]
    script = tmp_path / "in-the-image"
    script.write_text("\n".join(lines))
    said = run("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", script)
    assert "answered as 10001 10001" in said
