"""A training run: its steps, and the files that it writes."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from training.batches import Batches
from training.initial import initialise
from training.judging import Figures, Judge
from training.loss import Loss
from training.network import Eden
from training.optimising import Optimiser
from training.progress import Progress
from training.ranks import ALONE, Ranks
from training.report import EXPORT, Log, write_card
from training.schedule import large_share, memory_at, rate_at
from training.settings import Settings
from training.state import AVERAGE, NETWORK, export, read_export, read_state, set_tensors, tensors_of, write_state
from training.stepping import LossOf, Stepper, own_stream

MOST_SKIPPED = 0.02
"""The largest fraction of the steps since the last report that may be skipped for a loss or gradient of NaN."""


class Diverged(RuntimeError):
    """The loss or the gradients are NaN or infinite in too many steps. The last state and export are from before."""


class Run:
    """A piece of a run, from the beginning or from where the last piece stopped."""

    def __init__(self, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.settings, self.device = settings, torch.device(settings.device)
        self.ranks = ranks
        settings.folder.mkdir(parents=True, exist_ok=True)
        self.network = Eden(settings.config)
        initialise(self.network, settings.seed, settings.near)
        self.network.to(self.device)
        self.average = Eden(settings.config).to(self.device).requires_grad_(False)
        set_tensors(self.average, tensors_of(self.network))
        self.optimiser = Optimiser(self.network, settings.decay)
        self.batches, self.progress = Batches(settings, self.ranks), Progress()
        judge = Loss(settings.loss, settings.config.patch_size)
        loss: LossOf = judge
        if self.device.type == "cuda":
            # Its backward pass returns NaN where all logits of a query are about -120 (cuDNN of PyTorch 2.11).
            torch.backends.cuda.enable_cudnn_sdp(False)
            with warnings.catch_warnings():
                # The compiler of PyTorch 2.11 imports a module of its own that uses what PyTorch itself deprecates.
                warnings.filterwarnings("ignore", "`torch.jit.script_method` is", DeprecationWarning)
                for block in [*self.network.dit.blocks(), *self.network.decoder.blocks()]:
                    block.forward = torch.compile(block.forward, dynamic=False)
                loss = torch.compile(judge.__call__, dynamic=False)
        self.stepper = Stepper(
            self.network, self.average, self.optimiser, loss, self.ranks, settings.arithmetic, settings.recording
        )

    def resume(self) -> None:
        """Continue from the state in the folder. Raises FileNotFoundError: there is none; ValueError: another run's."""
        tensors, progress = read_state(self.settings.folder)
        try:
            with torch.no_grad():
                for name, tensor in self._state().items():
                    tensor.copy_(tensors[name])
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self.settings.folder} holds the state of a run of another configuration") from error
        self.progress = progress

    def start_from(self, folder: Path) -> None:
        """Continue from an export, if the state is lost: with its weights and progress, and a fresh optimiser.

        Raises CheckpointError: it cannot be read; ValueError: its configuration differs.
        """
        config, tensors, progress = read_export(folder)
        if config != self.settings.config:
            raise ValueError(f"{folder} has another configuration than this run")
        set_tensors(self.network, tensors)
        set_tensors(self.average, tensors)
        self.progress = replace(progress, optimiser_began=progress.step)

    @property
    def position(self) -> float:
        """0 at the start of the whole run, 1 at its end."""
        return self.progress.step / self.settings.plan_steps

    @property
    def parts(self) -> int:
        """Number of finished parts of the run. Each ends with a judgement."""
        return int(self.position * self.settings.judgements)

    def step(self) -> Tensor:
        """Take the next step. Returns [2], loss and gradient norm, on the device, without waiting for it."""
        settings, progress = self.settings, self.progress
        batch = self.batches.at(progress.step, large_share(self.position))
        noise = self.network.noise(len(batch.first), batch.size, self.batches.generators(progress.step)[1])
        rate = rate_at(self.position, progress.age, settings.rate, settings.warm_up)
        looked_at = self.stepper.step(batch, noise, rate, memory_at(progress.age, settings.memory))
        progress.step += 1
        progress.samples += len(batch.first) * self.ranks.count
        return looked_at

    def train(self, until: float = 1.0, deadline: float = math.inf) -> Figures:
        """Take at least one step, until the run's `position` is `until`; then judge, and write everything.

        deadline   time.monotonic() after which no further step is taken

        Only the leading process judges and writes; the others return no figures. Raises Diverged.
        """
        with own_stream(self.device):
            return self._train(until, deadline)

    def _train(self, until: float, deadline: float) -> Figures:
        settings, progress, leading = self.settings, self.progress, self.ranks.leading
        judge, log = Judge(settings), Log(settings.folder)
        if leading and not progress.step:
            self._judge(judge, log)
        report, save = Every(settings.report_seconds), Every(settings.save_seconds)
        begun, before = time.monotonic(), progress.seconds
        pending: list[Tensor] = []
        seen = replace(progress)
        going = True
        while going:
            parts = self.parts
            pending.append(self.step())
            progress.seconds = before + time.monotonic() - begun
            going = self.position < min(until, 1) and not self.ranks.any(progress.step, time.monotonic() > deadline)
            look = going and self.parts > parts
            if not leading:
                pending.clear()
                continue
            if going and not look and not report.due():
                continue
            looked_at = torch.stack(pending).tolist()  # waits for the device, as nothing above does
            loss, norm = mean_of_taken(looked_at, seen.step)
            log.trained(progress, seen, self.position, loss, norm)
            pending, seen = [], replace(progress)
            if going and save.due():
                self._save()
            if look:
                self._judge(judge, log)
        if not leading:
            return {}
        self._save()
        return self._judge(judge, log)

    def _state(self) -> dict[str, Tensor]:
        """All tensors that a step changes, by name, as views."""
        halves = {NETWORK: self.network, AVERAGE: self.average}
        weights = {
            f"{kind}/{name}": tensor for kind, half in halves.items() for name, tensor in tensors_of(half).items()
        }
        return weights | self.optimiser.tensors()

    def _save(self) -> None:
        write_state(self.settings.folder, self._state(), self.progress, self.settings.half_state)

    def _judge(self, judge: Judge, log: Log) -> Figures:
        """Export the average of the weights, and measure it."""
        size = export(self.average, self.progress, self.settings.folder / EXPORT)
        figures, sheet = judge.judge(self.average)
        log.judged(self.progress, figures, sheet)
        write_card(self.settings, self.progress, figures, size, self.ranks.count)
        return figures


class Every:
    """A timer that is due every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._begun = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether the time has passed; if so, it begins anew."""
        if time.monotonic() - self._begun < self.seconds:
            return False
        self._begun = time.monotonic()
        return True


def mean_of_taken(looked_at: list[list[float]], since: int) -> tuple[float, float]:
    """Mean loss and gradient norm over the steps after `since` that were taken. Prints the skipped ones.

    looked_at   [loss, norm] per step
    Raises Diverged: too many were skipped.
    """
    skipped = {since + number: each for number, each in enumerate(looked_at) if not math.isfinite(sum(each))}
    taken = [each for number, each in enumerate(looked_at) if since + number not in skipped]
    if len(skipped) > MOST_SKIPPED * len(looked_at):
        step, (loss, norm) = next(iter(skipped.items()))
        raise Diverged(f"{len(skipped)} of {len(looked_at)} steps, the first one {step}: loss {loss}, gradients {norm}")
    for step, (loss, norm) in skipped.items():
        print(f"step {step} was skipped: loss {loss}, gradients {norm}", flush=True)
    losses, norms = zip(*taken, strict=True)
    return sum(losses) / len(taken), sum(norms) / len(taken)
