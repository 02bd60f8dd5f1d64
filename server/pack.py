"""Packing what TorchServe serves into a model store: `python -m server pack`, `eden-serve pack` and `archive.sh`."""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from media.signals import exit_when_told_to, signals_wait
from server.settings import DEMO_WEIGHTS, MODEL_STORE, PROJECT
from server.staging import Build, parse_setting, stage
from server.topology import FUSED, TOPOLOGIES, Topology

HALVES = {"encoder": "encoder", "dit_decoder": "decoder", FUSED: "both"}
"""The part of a checkpoint that each model's archive carries."""
ARCHIVERS = {"torch-model-archiver": "model_archiver", "torch-workflow-archiver": "workflow_archiver"}
ABOUT = """\
Builds the archives that TorchServe serves, and puts them into the model store. Old archives are replaced once all new
ones are built; those of another topology stay, and are not served. Settings without an option here keep the values in
handlers/*.yaml and workflow/eden.yaml."""


class PackError(RuntimeError):
    """Nothing was built; the message says why."""


def pack(build: Build, checkpoint: Path, output: Path, in_place: bool = False) -> None:
    """Build all archives of a topology, then move them into the folder `output`, which is made if missing.

    in_place: the archives name the checkpoint's absolute path instead of holding its tensors.
    Raises PackError: the checkpoint is missing or cannot be read, an archiver is missing or fails.
    """
    for program, module in ARCHIVERS.items():
        if not importlib.util.find_spec(module):
            raise PackError(f"{program} is missing: pip install {program}")
    if not checkpoint.exists():
        raise PackError(f"no checkpoint at {checkpoint}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackError(f"cannot make the model store {output}: {error.strerror}") from None
    # In the model store's folder, so that the finished archives move there at once.
    with _folder(output) as folder:
        done, work = folder / "done", folder / "tmp"
        done.mkdir()
        work.mkdir()
        stage(replace(build, checkpoint=str(checkpoint)) if in_place else build, folder)
        for archive in build.topology.archives:
            model, _, kind = archive.rpartition(".")
            if model in HALVES and not in_place:
                _take(checkpoint, folder / model / "files" / "checkpoint", HALVES[model])
            _run(_model(model, folder, done) if kind == "mar" else _workflow(model, folder / "workflow", done), work)
        for archive in build.topology.archives:
            (done / archive).replace(output / archive)


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A new one, which is removed in the end, also by a signal that comes while it is made."""
    made: tempfile.TemporaryDirectory[str] | None = None
    try:
        with signals_wait():
            made = tempfile.TemporaryDirectory(prefix=".archive-", dir=parent)
        yield Path(made.name)
    finally:
        with signals_wait():
            if made is not None:
                made.cleanup()


def _take(checkpoint: Path, into: Path, half: str) -> None:
    from eden.checkpoint import CheckpointError, split_checkpoint  # here, since PyTorch takes seconds to import

    try:
        split_checkpoint(checkpoint, into, half)
    except CheckpointError as error:
        tensors = "all tensors" if half == "both" else f"the {half}'s tensors"
        raise PackError(f"{error}\ncannot read {tensors} from {checkpoint}") from None


def _model(name: str, folder: Path, done: Path) -> list[str]:
    # zip-store: weights hardly shrink, and unpacking them stored is what a quick start needs
    return [
        *("model_archiver.model_packaging", "--model-name", name, "--version", "1.0", "--archive-format", "zip-store"),
        *("--handler", str(PROJECT / "handlers" / f"{name}.py"), "--extra-files", str(folder / name / "files")),
        *("--config-file", str(folder / name / "model-config.yaml"), "--export-path", str(done)),
    ]


def _workflow(name: str, staged: Path, done: Path) -> list[str]:
    return [
        *("workflow_archiver.workflow_packaging", "--workflow-name", name, "--spec-file", str(staged / f"{name}.yaml")),
        *("--handler", str(staged / "no_functions.py"), "--export-path", str(done)),
    ]


def _run(archiver: Sequence[str], work: Path) -> None:
    """Run an archiver's module, with `work` for its temporary files. Raises PackError."""
    call = [sys.executable, "-P", "-m", *archiver]
    environment = os.environ | {"TMPDIR": str(work)}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        name = archiver[0].partition(".")[0]
        program = next(program for program, module in ARCHIVERS.items() if module == name)
        last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise PackError(f"{program} failed for {archiver[2]}: {last}")


# ---------------------------------------------------------------------- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument (--\S+): expected one argument", message):
            message = f"{found[1]} needs a value"
        raise PackError(f"{message} (see --help)")


def main(arguments: Sequence[str], program: str) -> int:
    """Pack as the arguments say, and return the exit code. program: the command's name in messages."""
    exit_when_told_to()
    try:
        args, unknown = _parser(program).parse_known_args(arguments)
        if unknown:
            raise PackError(f"unknown option {unknown[0]} (see --help)")
        build, checkpoint, output = _build(args), args.checkpoint.resolve(), args.output.resolve()
        pack(build, checkpoint, output, args.in_place)
    except PackError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{program}: {error}: nothing was built", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    for archive in build.topology.archives:
        print(f"{(output / archive).stat().st_size / 2**20:7.2f} MiB {archive}")
    print(f"built in {output} from {checkpoint}")
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(program, description=ABOUT, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--topology",
        choices=TOPOLOGIES,
        default="split",
        help="split: encoder.mar, dit_decoder.mar and the workflow eden.war (default); fused: eden_fused.mar, encoder "
        "and "
        "decoder in one worker per GPU; both: all of these. autostart.mar, which registers them, is always "
        "built",
    )
    add(
        "--checkpoint",
        type=Path,
        default=DEMO_WEIGHTS,
        metavar="PATH",
        help="a folder with config.json and weights.safetensors, a .safetensors file beside its config.json, or the "
        "published eden.pt (default: the demo weights, %(default)s)",
    )
    add(
        "--in-place",
        action="store_true",
        help="do not copy the checkpoint into the archives: they name its absolute path, where the server reads it",
    )
    add("--precision", metavar="P", help="arithmetic of the networks: fp32, tf32 or bf16")
    add(
        "--handoff",
        metavar="KIND",
        help="how tokens travel from encoder to dit_decoder: auto, shared_memory, inline, ... (all: docs/handoff.md)",
    )
    add("--batch-size", type=_positive, metavar="N", help="most requests that a model computes together")
    add(
        "--max-batch-delay",
        type=_milliseconds,
        metavar="MS",
        help="milliseconds that a request waits, at each model, for others to be computed with",
    )
    add("--encoder-workers", type=_positive, metavar="N", help="worker processes of encoder")
    add("--decoder-workers", type=_positive, metavar="N", help="worker processes of dit_decoder")
    add(
        "--live",
        action="store_true",
        help="register eden_fused a second time, as eden_live, whose own queue and workers serve only calls with "
        "X-Eden-Priority: live; they never wait for other calls (the weights take memory twice)",
    )
    add(
        "--fused-workers",
        type=_positive,
        metavar="N",
        help="worker processes of eden_fused (default: one per GPU of the host, or one)",
    )
    add(
        "--decoder-gpus",
        type=_gpus,
        default=[],
        metavar="A,B",
        help="GPUs that dit_decoder's workers use in turn; with 1,0 every second worker runs on the encoder's GPU",
    )
    add(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="[MODEL:]KEY=VALUE",
        help="any other setting under `handler:` in handlers/MODEL.yaml, or without MODEL: in all of them, e.g. --set "
        "handoff.wire=bf16 --set encoder:limits.max_pixels=1000000; may be repeated",
    )
    add("--output", type=Path, default=MODEL_STORE, metavar="FOLDER", help="the model store (default: %(default)s)")
    return parser


def _build(args: argparse.Namespace) -> Build:
    """The build that the options describe. Raises PackError: an option is for a model that is not packed."""
    topology = TOPOLOGIES[args.topology]
    if args.live:
        try:
            topology = topology.with_live()
        except ValueError as error:
            raise PackError(str(error)) from None
    build = Build(
        topology,
        precision=args.precision,
        handoff=args.handoff,
        batch_size=args.batch_size,
        max_batch_delay=args.max_batch_delay,
        workers={"encoder": args.encoder_workers, "dit_decoder": args.decoder_workers, FUSED: args.fused_workers},
        gpus={"dit_decoder": args.decoder_gpus},
        settings=tuple(args.settings),
    )
    for option in _senseless(args, topology):
        raise PackError(f"{option}: --topology {args.topology} packs no model that it applies to")
    return build


def _senseless(args: argparse.Namespace, topology: Topology) -> list[str]:
    """Options for models that are not packed."""
    packed = {archive.removesuffix(".mar") for archive in topology.archives}
    named = {
        "--handoff": (args.handoff, "encoder"),
        "--encoder-workers": (args.encoder_workers, "encoder"),
        "--decoder-workers": (args.decoder_workers, "dit_decoder"),
        "--decoder-gpus": (args.decoder_gpus, "dit_decoder"),
        "--fused-workers": (args.fused_workers, FUSED),
    }
    unused = [option for option, (value, model) in named.items() if value and model not in packed]
    return unused + [f"--set {model}:{key}" for model, key, _ in args.settings if model and model not in packed]


def _setting(text: str) -> tuple[str, str, Any]:
    try:
        return parse_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _gpus(text: str) -> list[int]:
    return [_whole(part, least=0) for part in text.split(",")]


def _positive(text: str) -> int:
    return _whole(text, least=1)


def _milliseconds(text: str) -> int:
    return _whole(text, least=0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)
