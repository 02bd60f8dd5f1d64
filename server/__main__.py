"""The command `eden-serve`, or `python -m server`: pack | start | run | drain | stop | status | doctor | java."""

import argparse
import os
import shlex
import sys
import sysconfig
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import requests

from media.signals import exit_when_told_to
from server import pack
from server.java import JavaNotFound, find_java, install
from server.settings import COMMAND, FOLDER, MODEL_STORE
from server.torchserve import RunsAlready, Server, ServerError

PLACES = """\
By default the model store is model_store/ and the server's folder is run/server/, both in the checkout, or in the
current folder if this is installed. --model-store (pack: --output) and --folder name others."""
HELP = {
    "start": "start it, and return once it has answered a real call",
    "run": "start it and stay until told to end: for containers",
    "drain": "refuse new calls, finish those that were accepted, stop",
    "stop": "stop it now",
    "status": "which workers run, and whether each node answers",
    "doctor": "what this host lacks to serve, and what to do",
}
BROKEN_PIPE = 141
"""The exit code that shells give for a program that SIGPIPE ended."""


def start(args: argparse.Namespace) -> None:
    exit_when_told_to()
    server = Server(args.model_store, args.folder, args.ports, dict(args.set))
    print(f"Starting TorchServe in {server.folder} ...", flush=True)
    try:
        server.start(args.timeout)
    except RunsAlready:
        print("It is running already.")
    except ServerError as error:
        raise ServerError(f"{error}\n`{COMMAND} doctor` with the same options says what this host lacks.") from None
    describe(server)


def describe(server: Server) -> None:
    """Print where the server answers, where its token is, and a call to try."""
    token = server.tokens.path
    print("Serving    " + "  ".join(server.url + path for path in server.topology.paths))
    print(f"Also       gRPC on port {server.grpc_port}, metrics at {server.metrics_url}")
    if server.health_url:
        print(f"Health     {server.health_url}/live  {server.health_url}/ready")
    print(f"Token      {token if token.exists() else 'switched off'}")
    print(f"Logs       {server.logs}")
    print("Try        " + curl(server))
    drawing = f"{shlex.quote(sys.executable)} -m eden_client.cli.demo_clip --stills clip.mp4"
    print(f"           (first.png and second.png are two pictures of one size; `{drawing}` draws such)")


def curl(server: Server) -> str:
    """A curl line that sends two pictures and saves the one between; it reads the token when it runs."""
    reading = "import json, sys; print(json.load(open(sys.argv[1]))['inference']['key'])"
    python, file = shlex.quote(sys.executable), shlex.quote(str(server.tokens.path))
    token = f"""-H "Authorization: Bearer $({python} -c "{reading}" {file})" """
    past_proxies = "--noproxy 127.0.0.1 " if "http" in getproxies() and not proxy_bypass("127.0.0.1") else ""
    return (
        f"curl {past_proxies}{token if server.tokens.path.exists() else ''}-F frame0=@first.png -F frame1=@second.png "
        f"-o between.png {server.url}{server.topology.paths[0]}"
    )


def run(args: argparse.Namespace) -> None:
    from server.foreground import serve_until_stopped

    server = Server(args.model_store, args.folder, args.ports, dict(args.set))
    print(f"Starting TorchServe in {server.folder} ...", flush=True)
    code = serve_until_stopped(server, args.timeout, args.within, args.notice, lambda: describe(server))
    if code:
        raise SystemExit(code)


def drain(args: argparse.Namespace) -> None:
    server = Server(folder=args.folder)
    if args.cancel:
        print(
            "The drain is cancelled: the server accepts calls again."
            if server.serve_on()
            else f"The server of {server.folder} is not being drained."
        )
        return
    exit_when_told_to()  # whatever ends this, the server serves on
    print(f"Draining the server in {server.folder}, for at most {args.notice + args.within:g} s ...", flush=True)
    if unfinished := server.drain(args.within, args.notice):
        raise ServerError(f"Stopped before all accepted calls were finished: {unfinished}.")
    print("All accepted calls were finished; stopped.")


def stop(args: argparse.Namespace) -> None:
    server = Server(folder=args.folder)
    ran = server.stop()
    print(f"Stopped the server in {server.folder}." if ran else f"No server runs in {server.folder}.")


def status(args: argparse.Namespace) -> None:
    server = Server(folder=args.folder)
    if not server.is_running():
        raise ServerError(f"No server runs in {server.folder}.")
    try:
        listed, models = server.api.is_serving(server.topology), server.topology.models
        workers = {model: server.api.workers(model) for model in models}
        silent = [model for model in models if listed and not server.api.answers(model, args.within)]
    except requests.RequestException as error:
        raise ServerError(f"Java runs (pid {server.java_pid}), but does not answer: {error}") from None
    ready = listed and not silent and not server.place.draining.exists()
    print(f"{'Ready' if ready else 'Not ready'}: Java is pid {server.java_pid}, with {server.thread_count()} threads.")
    if server.place.draining.exists():
        print("It is being drained: new calls are refused (drain --cancel ends that).")
    for node, of_node in workers.items():
        states = ", ".join(f"pid {worker['pid']} {worker['status']}" for worker in of_node)
        print(f"{node:18} {states or 'not registered'}")
    for node in silent:
        print(f"{node} gives no answer within {args.within:g} s: it is overloaded, or it hangs and must be restarted.")
    if not ready:
        raise SystemExit(1)
    describe(server)


def doctor(args: argparse.Namespace) -> None:
    from server.doctor import as_json, as_text, can_serve, examine  # here, since PyTorch takes seconds to import

    server = Server(args.model_store, args.folder, args.ports, dict(args.set))
    findings = examine(server)
    print(as_json(findings) if args.json else as_text(findings, server.folder))
    if not can_serve(findings):
        raise SystemExit(1)


def java(args: argparse.Namespace) -> None:
    wrapper = install(args.folder)
    print(f"{wrapper} runs {find_java()}")
    if home := os.environ.get("JAVA_HOME"):
        print(f"Warning: JAVA_HOME is set, so a plain `torchserve --start` runs {home}/bin/java instead: unset it.")


def main() -> int:
    if sys.argv[1:2] == ["pack"]:
        return pack.main(sys.argv[2:], f"{COMMAND} pack")
    args = _parser().parse_args()
    try:
        args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`: whoever reads wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (ServerError, JavaNotFound, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Pack, start, watch and stop a TorchServe.", epilog=PLACES
    )
    commands = parser.add_subparsers(
        required=True, metavar="pack | start | run | drain | stop | status | doctor | java"
    )
    commands.add_parser("pack", help="build the archives that the other commands serve")  # main has called it by now
    for command in (start, run, drain, stop, status, doctor):
        sub = commands.add_parser(command.__name__, help=HELP[command.__name__])
        sub.set_defaults(command=command)
        sub.add_argument("--folder", type=Path, default=FOLDER, help="the server's folder (default: %(default)s)")
        if command is status:
            sub.add_argument(
                "--within", type=float, default=5, help="seconds that a node may take to answer (default: %(default)s)"
            )
        if command in (start, run, doctor):
            sub.add_argument(
                "--model-store", type=Path, default=MODEL_STORE, help="folder of the archives (default: %(default)s)"
            )
            sub.add_argument(
                "--ports",
                choices=("config", "free"),
                default="config",
                help="ports: those in config.properties, or any free ones (default: %(default)s)",
            )
            sub.add_argument(
                "--set",
                type=_pair,
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help="change a setting of config.properties; may be repeated",
            )
        if command in (start, run):
            sub.add_argument(
                "--timeout", type=float, default=600, help="seconds that the start may take (default: %(default)s)"
            )
        if command in (run, drain):
            sub.add_argument(
                "--within",
                type=_seconds,
                default=60,
                help="seconds that accepted calls get to finish before the server is stopped (default: %(default)s)",
            )
            sub.add_argument(
                "--notice",
                type=_seconds,
                default=0,
                help="seconds before that during which /ready says no and calls are still accepted (default: "
                "%(default)s)",
            )
        if command is drain:
            sub.add_argument("--cancel", action="store_true", help="cancel a drain: accept calls again")
        if command is doctor:
            sub.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    sub = commands.add_parser("java", help="write the `java` that a plain `torchserve --start` runs")
    sub.set_defaults(command=java)
    scripts = Path(sysconfig.get_path("scripts"))
    sub.add_argument(
        "--folder",
        type=Path,
        default=scripts,
        help="write it into this folder, which is on PATH (default: %(default)s)",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 1e6")
    return seconds


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    raise SystemExit(main())
