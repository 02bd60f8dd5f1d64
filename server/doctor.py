"""Checks whether a server can serve on this host, and says what to do where it cannot. Changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from handoff.key import FILE
from handoff.payload.leases import left_behind
from server import checks, host
from server.finding import Finding, failure, ok
from server.settings import CONFIG, PACK, PROJECT
from server.torchserve import Server

MARKS = {"ok": "ok     ", "warning": "WARNING", "failure": "FAILURE"}


def examine(server: Server) -> list[Finding]:
    """All checks, for a server that is running or is to be started."""
    from server.packed import PackedModel, packed_models  # here, since PyTorch takes seconds to import
    from serving.settings import SettingsError

    place, java_pid = server.place, server.java_pid if server.is_running() else None
    archives = checks.archives(server.model_store, server.topology)
    there = host.Gpus.look()
    models: list[PackedModel] = []
    try:
        models = packed_models(server.model_store, server.topology, there.seen) if archives.state == "ok" else []
        settings = ok("settings", "The archives' settings are valid.") if models else None
    except SettingsError as error:
        settings = failure("settings", f"{error}.", f"Pack again with another value ({PACK}).")
    java, facts = host.java(os.environ)
    keys = [path for each in models if (path := each.settings.handoff.tls_key)]
    folders = {path for each in models for path in each.settings.handoff.ledger_folders if path.is_dir()}
    newest = [CONFIG, *(PROJECT / "server").glob("*.py"), *server.model_store.glob("*.mar")]
    found = [
        java,
        host.java_home(os.environ),
        checks.names((PROJECT, server.model_store, server.folder)),
        checks.folder(place),
        archives,
        settings,
        checks.tls(server.properties),
        checks.ports(server.ports, java_pid),
        checks.exposure(server.properties),
        checks.secrets([place.key_file, server.folder / FILE, *keys]),
        host.gpus(there, models, os.environ),
        host.cpu(models),
        host.memory(models, facts.heap if facts else None, there.seen, host.memory_limit()),
        host.heap(facts, server.properties) if facts and facts.heap else None,
        host.shared_memory(models, there.seen),
        host.descriptors(),
        host.disk(server.folder, models),
        host.proxies(),
        host.clock([*newest, place.key_file]),
        checks.leftovers(place, [path for folder in folders for path in left_behind(folder)], java_pid is not None),
    ]
    return [each for each in found if each]


def can_serve(findings: Sequence[Finding]) -> bool:
    """Whether no check failed; warnings are allowed."""
    return all(each.state != "failure" for each in findings)


def as_text(findings: Sequence[Finding], folder: Path) -> str:
    """A line per check, and a last one that says whether the server can serve."""
    width = max(len(each.check) for each in findings)
    lines = [f"{MARKS[each.state]}  {each.check:{width}}  {each}" for each in findings]
    failed, warned = (
        ", ".join(each.check for each in findings if each.state == state) for state in ("failure", "warning")
    )
    verdict = f"cannot serve: {failed}" if failed else f"can serve; warnings: {warned}" if warned else "can serve"
    return "\n".join([*lines, f"The server in {folder} {verdict}."])


def as_json(findings: Sequence[Finding]) -> str:
    """`{"can_serve": ..., "checks": [{"check", "state", "found", "remedy"}, ...]}`"""
    return json.dumps({"can_serve": can_serve(findings), "checks": [vars(each) for each in findings]}, indent=1)
