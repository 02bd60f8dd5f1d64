"""One pass through DiT and decoder: on a GPU as a captured graph, on a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eden.batch import Batch, room
from eden.config import EdenConfig
from eden.decoder import Decoder
from eden.dit import Dit
from eden.fused import pixels
from eden.geometry import to_cells
from eden.graphs import GraphCache, drop_recorded
from eden.output import EncoderOutput
from eden.pass_size import PassSize, is_out_of_memory
from eden.pass_times import PassClock
from eden.place import Place, place_of
from eden.precision import computing, dtype_of
from eden.sampler import TIMES, sample
from eden.streams import Beside, forked, new_stream

TOKENS_A_PASS = {"cuda": 40960, "cpu": 2048}
"""Patch tokens of the pairs computed together (on a GPU 5 pairs of 1080x1920). More is no faster, and takes memory."""

GRAPHS_KEPT = 16


class Engine:
    """The two networks on one device in one precision. One thread at a time may use it."""

    def __init__(self, config: EdenConfig, dit: Dit, decoder: Decoder, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dit, self.decoder = dit.to(device).eval(), decoder.to(device).eval()
        self.dit.cast_to(dtype_of(precision))
        self.decoder.to(dtype_of(precision))
        for network in (self.dit, self.decoder):
            network.requires_grad_(False)
        self.moments: Tensor = self.dit.denoise_timestep_embedder(torch.tensor(TIMES[:-1], device=device))
        self.pass_size = PassSize(TOKENS_A_PASS[device.type], f"DiT and decoder on {device}")
        self.stream, self.side = new_stream(device), new_stream(device)
        self.clock = PassClock(device)
        self.graphs: GraphCache[Batch, Tensor] | None = None if self.stream is None else GraphCache(GRAPHS_KEPT)

    @property
    def out_of_memory(self) -> int:
        """How often memory ran out since the start, for a server's metrics. Each time passes become smaller a while."""
        return self.pass_size.out_of_memory

    def pairs_a_pass(self, grid: tuple[int, int]) -> int:
        """How many pairs of `grid` to compute together."""
        return self.pass_size.items(grid[0] * grid[1])

    def run(
        self, clips: Sequence[EncoderOutput], noise: Sequence[Tensor], grid: tuple[int, int], as_uint8: bool
    ) -> Tensor:
        """All pairs of `clips`, from each clip's noise [K-1,q,l] -> what `compute` makes of them, until the next run.

        Raises torch.OutOfMemoryError where they are too many: half as many may fit. Passes are smaller from then on,
        and as large as before in the end (see eden.pass_size).
        """
        pairs, tokens = sum(map(len, clips)) - len(clips), grid[0] * grid[1]
        try:
            with self.clock.one():
                made = self._pass(clips, noise, grid, as_uint8)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        else:
            self.pass_size.went_well(pairs, tokens)
            return made
        # past the `except`, whose error kept alive what the failed pass had allocated
        held = drop_recorded(self.graphs)
        self.pass_size.ran_out(pairs, tokens)
        if pairs == 1 and held:
            return self.run(clips, noise, grid, as_uint8)
        raise torch.OutOfMemoryError(reason)

    def _pass(
        self, clips: Sequence[EncoderOutput], noise: Sequence[Tensor], grid: tuple[int, int], as_uint8: bool
    ) -> Tensor:
        frames = sum(map(len, clips))
        pairs = frames - len(clips)
        place = place_of(grid, self.config.hidden_dim, self.device, dtype_of(self.precision))
        # larger than what is worth putting together is one huge pair: its arithmetic hides the launches
        if self.graphs is None or pairs * grid[0] * grid[1] > TOKENS_A_PASS["cuda"]:
            batch = Batch.empty(pairs, frames, place, self.config.latent_dim)
            batch.fill(clips, noise)
            return self.compute(batch, place, as_uint8)
        places = room(pairs, frames)
        captured = self.graphs.get(
            (grid, places, as_uint8),
            make_inputs=lambda: Batch.empty(*places, place, self.config.latent_dim),
            compute=lambda batch: self.compute(batch, place, as_uint8),
            kept=place,
        )
        captured.inputs.fill(clips, noise)
        return captured.replay()[:pairs]

    def compute(self, batch: Batch, place: Place, as_uint8: bool) -> Tensor:
        """The frames between, [P,H',W',3]: float32 in [0,1], or uint8."""
        cells = to_cells(batch.cond_dit, place.grid)
        # what is seen of the frames depends on no step: it fills what a pair's small products leave idle
        with computing(self.precision), forked(self.side) as side:
            seen_dit = Beside(side, self.dit.frame_keys_values(cells))
            seen_dec = Beside(side, self.decoder.frame_keys_values(batch.cond_dec))
            steps = self.dit.modulations(self.moments, batch.difference)
            latents = sample(lambda x, step: self.dit(x, steps[step], seen_dit, batch.first, place), batch.noise)
            self.clock.denoised()
            z = latents / self.config.vae_scaler + self.config.vae_shift
            patches = self.decoder(z, seen_dec, batch.first, place)
        return pixels(patches, *batch.pair_stats(), place.grid, as_uint8)
