"""The run: steps, and what is written on the way."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.batches import Batch, Batches
from training.initial import initialise
from training.judging import Figures, Judge
from training.loss import reconstruction_loss
from training.network import Eden
from training.optimising import Optimiser
from training.progress import Progress
from training.ranks import ALONE, Ranks
from training.report import EXPORT, Log, write_card
from training.schedule import large_share, memory_at, rate_at
from training.settings import Settings
from training.state import export, read_export, read_state, set_tensors, tensors_of, write_state

CLIP = 1.0
"""Largest norm of all gradients together."""


class Diverged(RuntimeError):
    """The loss is no longer a number. The last state file and export are from before."""


class Run:
    """One piece of a run, from its beginning or from where the last one stopped."""

    def __init__(self, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.settings, self.device = settings, torch.device(settings.device)
        self.ranks = ranks
        settings.folder.mkdir(parents=True, exist_ok=True)
        self.network = Eden(settings.config)
        initialise(self.network, settings.seed, settings.near)
        self.network.to(self.device)
        self.average = Eden(settings.config).to(self.device).requires_grad_(False)
        set_tensors(self.average, tensors_of(self.network))
        self.optimiser = Optimiser(self.network)
        on_gpu = self.device.type == "cuda"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu)
        self.batches, self.progress = Batches(settings, self.ranks), Progress()
        if on_gpu:
            with warnings.catch_warnings():
                # The compiler of PyTorch 2.11 imports a module of its own that uses what PyTorch itself deprecates.
                warnings.filterwarnings("ignore", "`torch.jit.script_method` is", DeprecationWarning)
                for block in [*self.network.dit.blocks(), *self.network.decoder.blocks()]:
                    block.forward = torch.compile(block.forward, dynamic=False)

    def resume(self) -> None:
        """Go on where the state file in the run's folder ends. Raises FileNotFoundError."""
        state = read_state(self.settings.folder, self.device)
        set_tensors(self.network, state["network"])
        set_tensors(self.average, state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def start_from(self, folder: Path) -> None:
        """Go on from an export, where the state file is lost: its weights and place in the run, a fresh optimiser.

        Raises CheckpointError, and ValueError for weights of another configuration.
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
        return self.progress.samples / self.settings.plan_samples

    @property
    def parts(self) -> int:
        """Parts of the run that are done; each ends with a judgement."""
        return int(self.position * self.settings.judgements)

    def step(self, batch: Batch, noise: Tensor) -> Tensor:
        """One step of the optimiser: [2], loss and norm of the gradients, on the device, which is not waited for."""
        rate = rate_at(self.position, self.progress.age, self.settings.rate, self.settings.warm_up)
        with self.autocast:
            made = self.network(batch.first, batch.last, noise, batch.window)
        loss = reconstruction_loss(made, batch.middle)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step(rate)
        with torch.no_grad():
            averaged, trained = list(self.average.parameters()), list(self.network.parameters())
            torch._foreach_lerp_(averaged, trained, 1 - memory_at(self.progress.age))
        return torch.stack([loss.detach(), norm])

    def train(self, until: float = 1.0) -> Figures:
        """At least one step, until the run's `position` is there; then judge, and write everything. Raises Diverged.

        Only the leading process judges and writes; the others give no figures.
        """
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
            batch = self.batches.at(progress.step, large_share(self.position))
            noise = self.network.noise(len(batch.first), batch.size, self.batches.generators(progress.step)[1])
            pending.append(self.step(batch, noise))
            progress.step += 1
            progress.samples += len(batch.first) * self.ranks.count
            progress.seconds = before + time.monotonic() - begun
            going = self.position < min(until, 1)
            look = going and self.parts > parts
            if not leading:
                pending.clear()
                continue
            if going and not look and not report.due():
                continue
            loss, norm = torch.stack(pending).mean(dim=0).tolist()  # waits for the device, as nothing above does
            if not math.isfinite(loss + norm):
                raise Diverged(f"loss {loss}, gradients {norm} before step {progress.step}")
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

    def _save(self) -> None:
        state = {
            "network": tensors_of(self.network),
            "average": tensors_of(self.average),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
        }
        write_state(self.settings.folder, state)

    def _judge(self, judge: Judge, log: Log) -> Figures:
        """Export the average of the weights, and say how good it is."""
        size = export(self.average, self.progress, self.settings.folder / EXPORT)
        figures, sheet = judge.judge(self.average)
        log.judged(self.progress, figures, sheet)
        write_card(self.settings, self.progress, figures, size, self.ranks.count)
        return figures


class Every:
    """An alarm that is due again some seconds after it last was."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._begun = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it is time."""
        if time.monotonic() - self._begun < self.seconds:
            return False
        self._begun = time.monotonic()
        return True
