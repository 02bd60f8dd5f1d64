"""Checks of a server's folder, ports, archives and configuration. `start` makes the quick ones too."""

import os
import stat
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from server.finding import Finding, failure, ok, warning
from server.folder import ServerFolder
from server.running import ADDRESSES
from server.settings import PACK, Ports
from server.topology import Topology, packed_settings

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
NOTHING_FETCHED = "^$"


def names(paths: Iterable[Path]) -> Finding:
    """Whether Java and the workers, which read file names as UTF-8, can open these paths."""
    encoding = sys.getfilesystemencoding()
    for path in paths:
        try:
            path.as_posix().encode("ascii" if encoding != "utf-8" else encoding)
        except UnicodeEncodeError:
            return failure(
                "names",
                f"{str(path)!a} is not UTF-8, or Python reads file names as {encoding} here:",
                "set LC_ALL=C.UTF-8 and unset PYTHONUTF8, or choose a folder with an ASCII name.",
            )
    return ok("names", f"File names are read as {encoding}.")


def folder(place: ServerFolder) -> Finding:
    """Whether a server can be started in its folder."""
    reason = place.refusal()
    return failure("folder", *reason) if reason else ok("folder", f"{place.path} can be written.")


def ports(wanted: Ports, java: int | None = None) -> Finding:
    """Whether a server's ports are free, or its own. java: the pid of the server's Java, None if it does not run."""
    taken = wanted.taken()
    holders = {port: _holder(port) for port in taken}
    others = [port for port in taken if not _is_of(holders[port], java)]
    if not others:
        return ok("ports", f"{_listed(wanted.all())} are {'held by this server' if java else 'free'}.")
    port = others[0]
    return failure(
        "ports",
        f"Port {port} is taken by {_described(holders[port])}.",
        "Is another TorchServe running? Stop it, or use free ports (--ports free).",
    )


def _holder(port: int) -> int | None:
    """The pid of the process that listens on a port; None if it belongs to another user."""
    listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and each.pid)
    return next((each.pid for each in listening if each.laddr and each.laddr.port == port), None)


def _is_of(pid: int | None, java: int | None) -> bool:
    """Whether a process is that server's Java, or one of its workers."""
    if pid is None or java is None:
        return False
    try:
        return java in (pid, psutil.Process(pid).ppid())
    except psutil.NoSuchProcess:
        return False


def _described(pid: int | None) -> str:
    try:
        if pid:
            return f"pid {pid} ({_shortened(psutil.Process(pid).cmdline())})"
    except psutil.Error:
        pass
    return "a process of another user"


def _shortened(command: Sequence[str]) -> str:
    """The program, and as many of its arguments as fit into 80 characters, each of them whole."""
    shown = " ".join(command[:1])
    for argument in command[1:]:
        if len(shown) + len(argument) >= 80:
            return f"{shown} ..."
        shown += f" {argument}"
    return shown


def archives(model_store: Path, topology: Topology) -> Finding:
    """Whether the topology's archives can be read, and the weights that they name (packed --in-place)."""
    for name in topology.archives:
        path = model_store / name
        if not path.exists():
            return failure("archives", f"{path} is missing:", f"build it with {PACK}.")
        try:
            with zipfile.ZipFile(path) as packed:
                packed.infolist()
        except PermissionError:
            return failure("archives", f"{path} cannot be read by this user:", "chmod a+r, or start as its owner.")
        except (OSError, zipfile.BadZipFile) as error:
            return failure("archives", f"{path} is damaged ({error}):", f"rebuild it with {PACK}.")
        weights = Path(packed_settings(path).get("checkpoint") or "checkpoint")
        if weights.is_absolute() and (complaint := _unreadable(weights)):
            return failure(
                "archives",
                f"{path} names {complaint}",
                "Pack again, without --in-place or with a checkpoint elsewhere.",
            )
    return ok("archives", f"{_listed(topology.archives)} in {model_store}.")


def _unreadable(weights: Path) -> str:
    if not weights.exists():
        return f"weights that do not exist, {weights}."
    files = [weights, *(weights.iterdir() if weights.is_dir() and os.access(weights, os.R_OK) else ())]
    closed = next((each for each in files if not os.access(each, os.R_OK)), None)
    return f"weights that this user cannot read, {closed}." if closed else ""


def tls(properties: Mapping[str, str]) -> Finding:
    """Whether TorchServe itself is set to speak TLS, which nothing here supports."""
    for name in ADDRESSES:
        if properties.get(name, "").startswith("https:"):
            return failure(
                "TLS",
                f"{name} is {properties[name]}: TorchServe's own TLS is not supported.",
                "Let a proxy in front of it speak TLS (docs/operations.md), and TorchServe http on loopback.",
            )
    return ok("TLS", "TorchServe speaks http; TLS is left to a proxy in front of it.")


def exposure(properties: Mapping[str, str]) -> Finding:
    """Who can reach the server's ports, and whether tokens guard them."""
    hosts = {name: urlsplit(properties.get(name, "")).hostname or "127.0.0.1" for name in ADDRESSES}
    hosts["grpc_management_address"] = properties.get("grpc_management_address", "127.0.0.1")
    open_to_others = [name for name, host in hosts.items() if host not in LOOPBACK and name != "inference_address"]
    if properties.get("disable_token_authorization") == "true":
        return warning(
            "exposure",
            "Tokens are switched off: anyone who reaches a port can call it.",
            "Switch them on, unless a proxy in front checks callers.",
        )
    if open_to_others:
        return warning(
            "exposure",
            f"{_listed(open_to_others)} can be reached from other hosts.",
            "Bind them to 127.0.0.1: management can register code, metrics asks for no token.",
        )
    if properties.get("allowed_urls") != NOTHING_FETCHED:
        return warning(
            "exposure",
            "allowed_urls lets a management token register archives, which are code, from elsewhere.",
            f"Set allowed_urls={NOTHING_FETCHED}.",
        )
    if hosts["inference_address"] not in LOOPBACK:
        return warning(
            "exposure",
            "Other hosts can reach inference_address, and callers' tokens travel unencrypted.",
            "Fine in a private network; otherwise put a proxy that speaks TLS in front (docs/operations.md).",
        )
    return ok("exposure", "Only this host can reach it, with tokens.")


def secrets(files: Iterable[Path]) -> Finding:
    """Whether only this user can read the files with keys and tokens."""
    there = [path for path in files if path.exists()]
    for path in there:
        if not os.access(path, os.R_OK):
            return failure("secrets", f"{path} cannot be read by this user.", "Start as its owner.")
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return warning("secrets", f"Other users can read {path}.", f"chmod 600 {path}, and replace the key.")
    return ok("secrets", f"{_listed(path.name for path in there) or 'No keys yet: a start makes them'}, for this user.")


def leftovers(place: ServerFolder, left_behind: Iterable[Path], runs: bool) -> Finding:
    """What servers that were killed have left. left_behind: their files in shared memory."""
    files = list(left_behind)
    dead = [str(place.state)] if place.is_ours() and place.state.exists() and not runs else []
    if files:
        dead.append(f"{len(files)} files in {files[0].parent}")
    if not dead:
        return ok("leftovers", "Nothing left by killed servers.")
    return warning(
        "leftovers",
        f"Left by a killed server: {_listed(dead)}.",
        "Nothing to do: the next start or stop here removes it.",
    )


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
