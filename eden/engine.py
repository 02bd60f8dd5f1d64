"""One pass through DiT and decoder; on a GPU a captured CUDA graph, on a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eden.batch import Batch, bucket
from eden.config import EdenConfig
from eden.decoder import Decoder
from eden.dit import Dit
from eden.fused import pixels
from eden.geometry import to_cells
from eden.graphs import GraphCache, drop_recorded
from eden.grid_constants import GridConstants, grid_constants
from eden.output import EncoderOutput
from eden.pass_size import PassSize, is_out_of_memory
from eden.pass_times import PassClock
from eden.precision import computing, dtype_of
from eden.sampler import TIMES, sample
from eden.streams import SideStreamTensors, fork_stream, new_stream

TOKENS_PER_PASS = {"cuda": 40960, "cpu": 2048}
"""Most patch tokens per pass, by device type: on a GPU 5 pairs of 1080x1920. More is no faster, and takes memory."""

GRAPHS_KEPT = 16
"""CUDA graphs that are kept, the most recently used."""


class Engine:
    """DiT and decoder on one device, in one precision. Not thread-safe."""

    def __init__(self, config: EdenConfig, dit: Dit, decoder: Decoder, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dit, self.decoder = dit.to(device).eval(), decoder.to(device).eval()
        self.dit.cast_to(dtype_of(precision))
        self.decoder.to(dtype_of(precision))
        for network in (self.dit, self.decoder):
            network.requires_grad_(False)
        self.timestep_embeddings: Tensor = self.dit.denoise_timestep_embedder(torch.tensor(TIMES[:-1], device=device))
        self.pass_size = PassSize(TOKENS_PER_PASS[device.type], f"DiT and decoder on {device}")
        self.stream, self.side = new_stream(device), new_stream(device)
        self.clock = PassClock(device)
        self.graphs: GraphCache[Batch, Tensor] | None = None if self.stream is None else GraphCache(GRAPHS_KEPT)

    @property
    def out_of_memory(self) -> int:
        """How often memory has run out; each time passes become smaller for a while (see eden.pass_size)."""
        return self.pass_size.out_of_memory

    def pairs_per_pass(self, grid: tuple[int, int]) -> int:
        """How many pairs on `grid` are computed per pass, at least 1."""
        return self.pass_size.items(grid[0] * grid[1])

    def run(
        self, clips: Sequence[EncoderOutput], noise: Sequence[Tensor], grid: tuple[int, int], as_uint8: bool
    ) -> Tensor:
        """One pass over all P pairs of `clips`, from each clip's noise [K-1,q,l] -> frames as `compute` returns them.

        The frames are valid until the next run. Raises torch.OutOfMemoryError for too many pairs: half as many may fit.
        From then on `pairs_per_pass` is smaller for a while (see eden.pass_size).
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
        # outside the `except`: its error keeps the failed pass's tensors alive
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
        constants = grid_constants(grid, self.config.hidden_dim, self.device, dtype_of(self.precision))
        # only a single huge pair exceeds a pass: its arithmetic hides the launches, so no graph is recorded
        if self.graphs is None or pairs * grid[0] * grid[1] > TOKENS_PER_PASS["cuda"]:
            batch = Batch.empty(pairs, frames, constants, self.config.latent_dim)
            batch.fill(clips, noise)
            return self.compute(batch, constants, as_uint8)
        size = bucket(pairs, frames)
        captured = self.graphs.get(
            (grid, size, as_uint8),
            make_inputs=lambda: Batch.empty(*size, constants, self.config.latent_dim),
            compute=lambda batch: self.compute(batch, constants, as_uint8),
            kept=constants,
        )
        captured.inputs.fill(clips, noise)
        return captured.replay()[:pairs]

    def compute(self, batch: Batch, constants: GridConstants, as_uint8: bool) -> Tensor:
        """The frames between, padded, [P,H',W',3]: float32 in [0,1], or uint8 (docs/model.md: "DiT" to "Decoder")."""
        cells = to_cells(batch.cond_dit, constants.grid)
        # the frames' keys and values depend on no step: on the side stream they fill gaps between the DiT's products
        with computing(self.precision), fork_stream(self.side) as side:
            seen_dit = SideStreamTensors(side, self.dit.frame_keys_values(cells))
            seen_dec = SideStreamTensors(side, self.decoder.frame_keys_values(batch.cond_dec))
            steps = self.dit.modulations(self.timestep_embeddings, batch.difference)
            latents = sample(lambda x, step: self.dit(x, steps[step], seen_dit, batch.first, constants), batch.noise)
            self.clock.denoised()
            z = latents / self.config.vae_scaler + self.config.vae_shift
            patches = self.decoder(z, seen_dec, batch.first, constants)
        return pixels(patches, *batch.pair_stats(), constants.grid, as_uint8)
