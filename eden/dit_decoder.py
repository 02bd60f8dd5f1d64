"""The second half of EDEN: DiT and decoder turn tokens into the frames between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import chain, groupby, product
from pathlib import Path

import torch
from torch import Tensor

from eden.batch import Span, noise_on, passes
from eden.checkpoint import load_half
from eden.config import EdenConfig
from eden.decoder import Decoder
from eden.dit import Dit
from eden.engine import Engine
from eden.geometry import crop, one_grid, padded_grid
from eden.graphs import drop_recorded
from eden.output import EncoderOutput
from eden.pass_size import is_out_of_memory
from eden.pass_times import PassTime
from eden.planes import YuvFormat, to_planes
from eden.precision import dtype_of
from eden.sampler import check_seed
from eden.streams import Downloads, on_stream


class DitDecoder:
    """`EncoderOutput` to frames, on one device, in one precision ("fp32", "tf32" or "bf16"). Not thread-safe."""

    def __init__(self, config: EdenConfig, dit: Dit, decoder: Decoder, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dtype = dtype_of(precision)
        self.engine = Engine(config, dit, decoder, device, precision)
        self.downloads = Downloads(device)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> DitDecoder:
        """Load the decoder's half of the checkpoint at `path` (see eden.checkpoint).

        Raises CheckpointError, and ValueError for an unknown precision.
        """
        dtype_of(precision)
        config, tensors = load_half(path, "decoder")
        with torch.device("meta"):
            networks = Dit(config), Decoder(config)
        for network in networks:
            own = {name: tensors[name] for name in network.state_dict()}
            network.load_state_dict(own, assign=True)
        return cls(config, *networks, torch.device(device), precision)

    def interpolate(
        self,
        outputs: Sequence[EncoderOutput],
        seeds: Sequence[int] | None = None,
        noise: Sequence[Tensor] | None = None,
        as_uint8: bool = False,
        to_host: bool = True,
        yuv: YuvFormat | None = None,
    ) -> list[Tensor]:
        """The frames between those of each clip: per clip [K-1,3,H,W] float32 in [0,1], on this device.

        All clips must have one grid, and are computed together; their lengths and sizes may differ. Sampling starts
        from the noise of `seeds` (one per clip, by default 0) or from `noise` (one [K-1,q,l] float32 per clip). On a
        GPU clips are read on the current stream: if another stream writes them, make the current one wait for it.

        as_uint8: frames are rounded to 0..255 on the device, and returned in host memory unless `to_host` is False.
        Their memory is ordered by pixel: permute(0, 2, 3, 1) is contiguous.
        yuv: frames are converted to planes on the device, [K-1,H*3/2,W] (see eden.planes); needs `as_uint8`.

        When a pass runs out of memory it is computed again in halves, down to single pairs. When memory runs out
        outside a pass, recorded graphs are dropped and all is tried once more.
        Raises ValueError for clips of different grids (naming two), for seeds or noise that do not match the clips, for
        planes of odd sides, and for `yuv` without `as_uint8`; torch.OutOfMemoryError if a single pair is too much.
        """
        frames = self.begin(outputs, seeds, noise, as_uint8, to_host, yuv)
        if as_uint8 and to_host:
            self.finish()
        return frames

    def timed(self) -> AbstractContextManager[list[PassTime]]:
        """A context in which passes are timed; its list of times is complete when it ends.

        On a GPU each pass then waits for the one before, which costs a little.
        """
        return self.engine.clock.keeping()

    @torch.inference_mode()
    def begin(
        self,
        outputs: Sequence[EncoderOutput],
        seeds: Sequence[int] | None = None,
        noise: Sequence[Tensor] | None = None,
        as_uint8: bool = False,
        to_host: bool = True,
        yuv: YuvFormat | None = None,
    ) -> list[Tensor]:
        """Like `interpolate`, but a GPU's work is only queued, so the caller can do something else meanwhile.

        Frames in host memory are complete only after `finish`.
        """
        try:
            return self._begin(outputs, seeds, noise, as_uint8, to_host, yuv)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        # outside the `except`: its error keeps the failed attempt's tensors alive
        if not drop_recorded(self.engine.graphs):
            raise torch.OutOfMemoryError(reason)
        return self._begin(outputs, seeds, noise, as_uint8, to_host, yuv)

    def _begin(
        self,
        outputs: Sequence[EncoderOutput],
        seeds: Sequence[int] | None,
        noise: Sequence[Tensor] | None,
        as_uint8: bool,
        to_host: bool,
        yuv: YuvFormat | None,
    ) -> list[Tensor]:
        if not outputs:
            return []
        if yuv and not as_uint8:
            raise ValueError("yuv needs as_uint8: planes are uint8")
        grid = one_grid(output.grid for output in outputs)
        starts = self._starts(outputs, seeds, noise, grid)
        # clips of one size side by side, so that each pass delivers them in one piece
        order = sorted(range(len(outputs)), key=lambda clip: outputs[clip].size)
        pairs = Counter[tuple[int, int]]()
        for output in outputs:
            pairs[output.size] += len(output) - 1
        frames = {size: self._targets(count, size, as_uint8, to_host, yuv) for size, count in pairs.items()}
        with on_stream(self.engine.stream):
            whole = (Span(clip, 0, len(outputs[clip]) - 1) for clip in order)
            waiting = passes(whole, self.engine.pairs_per_pass(grid))
            free = dict(frames)
            while waiting:
                parts = [_part(outputs[span.clip], span) for span in waiting[0]]
                began = [starts[span.clip][span.start : span.stop] for span in waiting[0]]
                try:
                    made = self.engine.run(parts, began, grid, as_uint8)
                except torch.OutOfMemoryError:
                    tried = sum(map(len, began))
                    if tried == 1:
                        raise
                    fewer = min(tried // 2, self.engine.pairs_per_pass(grid))
                    waiting = passes(chain.from_iterable(waiting), fewer)
                    continue
                waiting.pop(0)
                for size, alike in groupby(parts, key=lambda part: part.size):
                    count = sum(len(part) - 1 for part in alike)
                    own = crop(made[:count], size, grid, self.config.patch_size)
                    if yuv:
                        own = to_planes(own.permute(0, 3, 1, 2), yuv).samples
                    self._deliver(own, free[size][:count])
                    made, free[size] = made[count:], free[size][count:]
        between = frames if yuv else {size: made.permute(0, 3, 1, 2) for size, made in frames.items()}
        answers: dict[int, Tensor] = {}
        for clip in order:
            size, count = outputs[clip].size, len(outputs[clip]) - 1
            answers[clip], between[size] = between[size][:count], between[size][count:]
        return [answers[clip] for clip in range(len(outputs))]

    def finish(self) -> None:
        """Wait until the frames of every `begin` that go to host memory are complete."""
        self.downloads.finish()

    def warm(self, sizes: Iterable[tuple[int, int]], batch_sizes: Iterable[int] = (1,)) -> None:
        """Interpolate black frames of each size (H, W), for each batch size as that many pairs and as one clip of them.

        So kernels are compiled and graphs recorded before the first request.
        """
        for size, pairs in product(sizes, batch_sizes):
            self.interpolate([self._black(size, 2)] * pairs, as_uint8=True)
            self.interpolate([self._black(size, pairs + 1)], as_uint8=True)

    def _black(self, size: tuple[int, int], frames: int) -> EncoderOutput:
        grid = padded_grid(*size, self.config.patch_size)
        tokens = torch.zeros(frames, grid[0] * grid[1], self.config.hidden_dim, device=self.device, dtype=self.dtype)
        stats = torch.zeros(frames, device=self.device)
        return EncoderOutput(tokens, tokens, stats, stats, stats[1:], grid, size)

    def _starts(
        self,
        outputs: Sequence[EncoderOutput],
        seeds: Sequence[int] | None,
        noise: Sequence[Tensor] | None,
        grid: tuple[int, int],
    ) -> list[Tensor]:
        """x(0) of each clip, [K-1,q,l] float32 (docs/model.md: "Sampling")."""
        if noise is None:
            chosen = [0] * len(outputs) if seeds is None else list(seeds)
            if len(chosen) != len(outputs):
                raise ValueError(f"{len(chosen)} seeds for {len(outputs)} clips")
            drawn = [noise_on(self.device, check_seed(seed), grid, self.config.latent_dim) for seed in chosen]
            return [start.expand(len(output) - 1, -1, -1) for start, output in zip(drawn, outputs, strict=True)]
        if seeds is not None:
            raise ValueError("give either seeds or noise, not both")
        wanted = [(len(output) - 1, grid[0] * grid[1] // 4, self.config.latent_dim) for output in outputs]
        if (found := [tuple(start.shape) for start in noise]) != wanted:
            raise ValueError(f"noise has the shapes {found}, these clips need {wanted}")
        return list(noise)

    def _targets(
        self, count: int, size: tuple[int, int], as_uint8: bool, to_host: bool, yuv: YuvFormat | None
    ) -> Tensor:
        """Uninitialised memory for `count` frames of one size, [count,H,W,3], or as planes [count,H*3/2,W]."""
        height, width = size
        shape = (count, height * 3 // 2, width) if yuv else (count, height, width, 3)
        if as_uint8 and to_host:
            return self.downloads.host_buffer(shape)
        return torch.empty(shape, device=self.device, dtype=torch.uint8 if as_uint8 else torch.float32)

    def _deliver(self, made: Tensor, target: Tensor) -> None:
        if made.dtype == torch.uint8 and made.device != target.device:
            # always a copy: the next pass overwrites these frames
            self.downloads.fetch(made.clone(memory_format=torch.contiguous_format), target)
        else:
            target.copy_(made)


def _part(output: EncoderOutput, span: Span) -> EncoderOutput:
    whole = span.stop - span.start == len(output) - 1
    return output if whole else output.pairs(span.start, span.stop)
