"""deploy/'s files by the tools that know what such files may say; nothing of them runs here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import PROJECT

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OF_KUBERNETES_ITSELF = [
    pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}")
    for path in sorted(KUBERNETES.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each["kind"] not in ("Kustomization", "ScaledObject")
]


def run(*command: object, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def program(name: str, package: str, also: str = "") -> str:
    """Where it is; skips where it is not."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path=also)
    if not found:
        pytest.skip(f"{name} is not installed ({package})")
    return found


@pytest.mark.parametrize("resource", OF_KUBERNETES_ITSELF)
def test_kubernetes_knows_every_field(resource: dict[str, Any]):
    validator = pytest.importorskip("kubernetes_validate", reason="pip install '.[deploy]'")
    validator.validate(resource, validator.latest_version(), strict=True)


def test_compose_knows_every_field():
    checker = program("check-jsonschema", "pip install '.[deploy]'")
    run(checker, "--builtin-schema", "vendor.compose-spec", *DEPLOY.glob("compose*.yaml"))


def test_the_dockerfile_is_sound():
    run(program("hadolint", "pip install '.[deploy]'"), DEPLOY / "Dockerfile")


def test_haproxy_takes_its_file_in_a_container_too(tmp_path: Path):
    """Where the servers behind it have one name for all."""
    text = (DEPLOY / "haproxy.cfg").read_text()
    (tmp_path / "eden-callers.map").write_text("")
    for folder in ("/etc/haproxy", "/run/haproxy"):
        assert folder in text
        text = re.sub(rf"{folder}(?=/eden[-.](callers|sock))", str(tmp_path), text)
    (tmp_path / "haproxy.cfg").write_text(text)
    haproxy = program("haproxy", "Debian: apt install haproxy", "/usr/sbin")
    run(haproxy, "-c", "-f", tmp_path / "haproxy.cfg", env={**os.environ, "EDEN_SERVERS": "eden:8080"})
    refused = subprocess.run(
        [haproxy, "-c", "-f", tmp_path / "haproxy.cfg"],
        env={**os.environ, "EDEN_SERVERS": "eden:port"}, capture_output=True, timeout=300,
    )  # fmt: skip
    assert refused.returncode != 0


def test_prometheus_takes_its_file_with_our_rules(tmp_path: Path):
    for path in (DEPLOY / "prometheus.yml", PROJECT / "dashboards" / "alerts.yml"):
        shutil.copy(path, tmp_path)
    run(program("promtool", "Debian: apt install prometheus"), "check", "config", tmp_path / "prometheus.yml")


def test_what_scales_is_how_many_requests_wait(tmp_path: Path):
    """Two servers, of whose requests 12 and 4 wait at a time: each second so many seconds of waiting come to an end."""
    (trigger,) = yaml.safe_load((KUBERNETES / "scaledobject.yaml").read_text())["spec"]["triggers"]
    rules = {"groups": [{"name": "scale", "rules": [{"record": "waiting", "expr": trigger["metadata"]["query"]}]}]}
    counted = [
        {"series": f'ts_queue_latency_microseconds{{model_name="{model}",instance="{instance}"}}', "values": values}
        for model, instance, values in (
            ("eden_fused", "a", f"0+{12 * 5_000_000}x60"),
            ("eden__encoder", "b", f"0+{4 * 5_000_000}x60"),
            ("eden__dit_decoder", "b", f"0+{9 * 5_000_000}x60"),  # it waits inside a call that is counted already
        )
    ]
    expected = {"expr": "waiting", "eval_time": "4m", "exp_samples": [{"labels": "waiting", "value": 16}]}
    tests = {"interval": "5s", "input_series": counted, "promql_expr_test": [expected]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "5s", "tests": [tests]})
    )
    run(program("promtool", "Debian: apt install prometheus"), "test", "rules", tmp_path / "tests.yml")
