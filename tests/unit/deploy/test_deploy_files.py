"""What deploy/ says of the server agrees with the server: no file of it can be run everywhere."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.processes import PATIENCE
from server.settings import CONFIG, PROJECT, Ports, read_properties

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PORTS = Ports.of(read_properties(CONFIG))
OPEN = {"http": PORTS.inference, "metrics": PORTS.metrics, "health": PORTS.health}
"""To other hosts, by the name that Kubernetes' files have for them."""
IN_THE_IMAGE = ("eden", "handoff", "media", "serving", "handlers", "server", "tracing")
NOT_ON_A_CPU = {"triton", "cuda"}


def resources() -> dict[str, list[dict[str, Any]]]:
    """By kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]:
        for each in yaml.safe_load_all((KUBERNETES / name).read_text()):
            found.setdefault(each["kind"], []).append(each)
    return found


RESOURCES = resources()
(DEPLOYMENT,) = RESOURCES["Deployment"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
SERVERS = {name: service for name, service in COMPOSE.items() if "build" in service}


def option(arguments: list[str], name: str) -> float:
    return float(arguments[arguments.index(name) + 1])


def gibibytes(quantity: str) -> float:
    assert quantity.endswith("Gi")
    return float(quantity.removesuffix("Gi"))


def test_kustomize_is_told_of_each_file():
    named = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted([*named, "kustomization.yaml"]) == sorted(path.name for path in KUBERNETES.iterdir())


def test_ports_are_those_of_the_server():
    assert {each["name"]: each["containerPort"] for each in CONTAINER["ports"]} == OPEN
    (service,) = RESOURCES["Service"]
    assert {each["targetPort"]: each["port"] for each in service["spec"]["ports"]} == OPEN
    exposed = re.search(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert exposed and sorted(map(int, exposed[1].split())) == sorted(OPEN.values())
    bound = dict(re.findall(r'"(\w+)_address=http://0\.0\.0\.0:(\d+)"', DOCKERFILE))
    assert bound == {"inference": str(PORTS.inference), "metrics": str(PORTS.metrics), "health": str(PORTS.health)}


def test_nobody_reaches_what_manages_the_server():
    closed = {PORTS.management, PORTS.grpc_management}
    for policy in RESOURCES["NetworkPolicy"]:
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                assert port["port"] in OPEN or not closed & set(range(port["port"], port["endPort"] + 1))
    ours = RESOURCES["NetworkPolicy"][0]["spec"]
    assert {port["port"] for rule in ours["ingress"] for port in rule["ports"]} == set(OPEN)
    assert "egress" not in ours


def test_probes_ask_where_the_server_answers():
    asked = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in asked.values()} == {"health"}
    assert [probe["path"] for probe in asked.values()] == ["/ready", "/ready", "/live"]


@pytest.mark.parametrize(
    ("arguments", "grace"),
    [
        (CONTAINER["args"], POD["terminationGracePeriodSeconds"]),
        *((each["command"], float(each["stop_grace_period"].removesuffix("s"))) for each in SERVERS.values()),
    ],
)
def test_a_server_is_killed_only_after_it_had_time_to_finish(arguments: list[str], grace: float):
    assert grace >= option(arguments, "--notice") + option(arguments, "--within") + PATIENCE


def test_a_pod_may_finish_the_longest_batch():
    longest = yaml.safe_load((PROJECT / "handlers" / "dit_decoder.yaml").read_text())["responseTimeout"]
    assert option(CONTAINER["args"], "--within") >= longest


def test_shared_memory_holds_the_handoffs_budget_and_memory_both():
    budget = yaml.safe_load((PROJECT / "handlers" / "encoder.yaml").read_text())["handler"]["handoff"]["budget_bytes"]
    volumes = {each["name"]: each["emptyDir"] for each in POD["volumes"]}
    (mounted,) = (each["name"] for each in CONTAINER["volumeMounts"] if each["mountPath"] == "/dev/shm")
    assert volumes[mounted]["medium"] == "Memory"
    size, limits = gibibytes(volumes[mounted]["sizeLimit"]), CONTAINER["resources"]["limits"]
    assert budget / 2**30 < size < gibibytes(limits["memory"]) / 2
    assert CONTAINER["resources"]["requests"]["nvidia.com/gpu"] == limits["nvidia.com/gpu"]
    assert {each["shm_size"] for each in SERVERS.values()} == {f"{size:g}gb"}


def test_the_user_is_the_images_and_writes_where_it_may():
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    context = POD["securityContext"]
    assert user and [int(each) for each in user.groups()] == [context["runAsUser"], context["runAsGroup"]]
    assert context["runAsNonRoot"] and CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert {each["mountPath"] for each in CONTAINER["volumeMounts"]} == {"/run/eden", "/tmp", "/dev/shm"}


def test_compose_has_two_servers_that_haproxy_and_prometheus_find():
    assert len(SERVERS) == 2
    (alias,) = {name for each in SERVERS.values() for name in each["networks"]["inside"]["aliases"]}
    assert COMPOSE["haproxy"]["environment"] == {"EDEN_SERVERS": f"{alias}:{PORTS.inference}"}
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:{PORTS.metrics}" for name in SERVERS]}]
    shipped = yaml.safe_load((PROJECT / "dashboards" / "prometheus.yml").read_text())
    assert job | {"static_configs": []} == shipped["scrape_configs"][0] | {"static_configs": []}
    assert {key: scraped[key] for key in ("global", "rule_files")} == {
        key: shipped[key] for key in ("global", "rule_files")
    }
    for service in COMPOSE.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        for volume in service.get("volumes", []):
            source, _, _ = volume.partition(":")
            assert not source.startswith(".") or (DEPLOY / source).is_file()


def test_a_gpu_for_each_server():
    devices = yaml.safe_load((DEPLOY / "compose.cuda.yaml").read_text())["services"]
    asked = [each["deploy"]["resources"]["reservations"]["devices"] for each in devices.values()]
    assert set(devices) == set(SERVERS)
    assert sorted(device["device_ids"] for (device,) in asked) == [["0"], ["1"]]


def test_the_scaler_asks_for_metrics_that_there_are():
    (scaled,) = (each["spec"] for each in RESOURCES["ScaledObject"])
    assert scaled["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert "replicas" not in DEPLOYMENT["spec"], "the ScaledObject says how many"
    (trigger,) = scaled["triggers"]
    declared = yaml.safe_load((PROJECT / "server" / "metrics.yaml").read_text())["ts_metrics"]
    names = {each["name"] for kind in declared.values() for each in kind}
    assert set(re.findall(r"\bts_\w+", trigger["metadata"]["query"])) <= names
    batch = yaml.safe_load((PROJECT / "handlers" / "eden_fused.yaml").read_text())["batchSize"]
    assert float(trigger["metadata"]["threshold"]) == batch


def imported(folder: Path) -> set[str]:
    """The top names of what its modules import, without those of Python's own library."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.slow
def test_the_image_has_what_the_server_imports():
    kept, found, _ = (PROJECT / "requirements.txt").read_text().partition("# clients and load")
    assert found and f"/^{found}/,$d" in DOCKERFILE
    installed = {line.partition("==")[0].lower() for line in kept.splitlines() if "==" in line}
    distributions = importlib.metadata.packages_distributions()
    for package in IN_THE_IMAGE:
        for name in imported(PROJECT / package) - set(IN_THE_IMAGE) - NOT_ON_A_CPU:
            assert installed & {each.lower() for each in distributions[name]}, f"{package} imports {name}"


def test_the_image_holds_what_is_there():
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((PROJECT / name).exists() for name in kept)
    assert {*IN_THE_IMAGE, "workflow", "weights", "config.properties", "archive.sh", "requirements.txt"} <= kept
