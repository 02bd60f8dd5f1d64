"""The rules that are shipped, by Prometheus' own tool; what they speak of is declared, shown and documented."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from server.settings import PROJECT

RULES = PROJECT / "dashboards" / "alerts.yml"
TESTS = Path(__file__).with_name("alerts_test.yml")
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
EXPRESSIONS = " ".join(rule["expr"] for group in GROUPS for rule in group["rules"])
DECLARED = {
    metric["name"]
    for of in ("model_metrics", "ts_metrics")
    for kind in yaml.safe_load((PROJECT / "server" / "metrics.yaml").read_text())[of].values()
    for metric in kind
}


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    if not program:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_and_its_rules_are_valid():
    promtool("check", "config", PROJECT / "dashboards" / "prometheus.yml")
    config = yaml.safe_load((PROJECT / "dashboards" / "prometheus.yml").read_text())
    assert config["rule_files"] == [RULES.name]


def test_a_rule_reads_only_what_its_own_group_recorded_before_it():
    everywhere = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    for group in GROUPS:
        recorded: set[str] = set()
        for rule in group["rules"]:
            read = {name for name in everywhere if name in rule["expr"]}
            assert read <= recorded, f"{rule.get('record', rule.get('alert'))} reads {read - recorded}"
            recorded |= {rule["record"]} if "record" in rule else set()


def test_each_alert_fires_when_it_should_and_not_before():
    promtool("test", "rules", TESTS)


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not():
    expected = [each for test in yaml.safe_load(TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    for fires in (True, False):
        tested = {each["alertname"] for each in expected if bool(each["exp_alerts"]) == fires}
        assert tested == {alert["alert"] for alert in ALERTS}


def test_rules_speak_of_metrics_that_are_declared():
    named = set(re.findall(r"\b(?:eden|ts)_\w+", EXPRESSIONS)) - {
        "eden__encoder",
        "eden__dit_decoder",
        "eden_fused",
    }
    assert named <= DECLARED


def test_the_dashboard_shows_every_metric_of_ours():
    panels = json.loads((PROJECT / "dashboards" / "eden.json").read_text())["panels"]
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in DECLARED if name.startswith("eden_")}
    assert {name for name in ours if name not in queries + EXPRESSIONS} == set()


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_says_what_it_means_and_operations_say_what_to_do(alert):
    assert set(alert["annotations"]) == {"summary", "description"}
    assert f"### {alert['alert']}\n" in (PROJECT / "docs" / "operations.md").read_text()
