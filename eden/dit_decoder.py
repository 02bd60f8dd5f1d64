"""From tokens to the frames between: the half of EDEN that does the work."""

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
from eden.streams import Downloads, in_turn


class DitDecoder:
    """`EncoderOutput` to frames, on one device in one precision. One thread at a time may use it."""

    def __init__(self, config: EdenConfig, dit: Dit, decoder: Decoder, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dtype = dtype_of(precision)
        self.engine = Engine(config, dit, decoder, device, precision)
        self.downloads = Downloads(device)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> DitDecoder:
        """The decoder's half of the checkpoint at `path` (see eden.checkpoint). Raises CheckpointError."""
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
        """The frames between those of each clip: [K-1,3,H,W] float32 in [0,1], on this device, clip by clip.

        All clips have one grid and are computed together; lengths and sizes may differ. `seeds` (one a clip, 0 where
        none are given) or `noise` (one [K-1,q,l] a clip) says where sampling starts. On a GPU the clips are read in
        the order of the current stream: have it wait for the event of whoever writes them.

        With `as_uint8` the frames are rounded to 0..255 on the device and come back in the host's memory, unless
        `to_host` is False. In any case they lie in memory as pixels do: permute(0, 2, 3, 1) is contiguous.
        With `yuv`, which goes with `as_uint8`, they are made planes on the device (see eden.planes): [K-1,H*3/2,W].
        A pass that runs out of memory is computed again in halves, down to single pairs; what runs out beside passes,
        once more when recorded ones have given theirs back.
        Raises ValueError where there are two grids, naming both, where seeds or noise do not fit the clips, and for
        planes of odd sides or floats; torch.OutOfMemoryError where a single pair is too much.
        """
        frames = self.begin(outputs, seeds, noise, as_uint8, to_host, yuv)
        if as_uint8 and to_host:
            self.finish()
        return frames

    def timed(self) -> AbstractContextManager[list[PassTime]]:
        """Within it passes are timed, which costs a GPU a little: one waits for the one before."""
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
        """As `interpolate`, for a caller with something else to do meanwhile: a GPU is only told what to do.

        Frames that come back in the host's memory are there after `finish`.
        """
        try:
            return self._begin(outputs, seeds, noise, as_uint8, to_host, yuv)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        # past the `except`, whose error kept alive what had been allocated
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
            raise ValueError("planes are uint8")
        grid = one_grid(output.grid for output in outputs)
        starts = self._starts(outputs, seeds, noise, grid)
        # clips of one size side by side, so that each pass delivers them in one piece
        order = sorted(range(len(outputs)), key=lambda clip: outputs[clip].size)
        pairs = Counter[tuple[int, int]]()
        for output in outputs:
            pairs[output.size] += len(output) - 1
        frames = {size: self._room_for(count, size, as_uint8, to_host, yuv) for size, count in pairs.items()}
        with in_turn(self.engine.stream):
            whole = (Span(clip, 0, len(outputs[clip]) - 1) for clip in order)
            waiting = passes(whole, self.engine.pairs_a_pass(grid))
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
                    fewer = min(tried // 2, self.engine.pairs_a_pass(grid))
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
        """Wait for the frames of every `begin` that come back in the host's memory."""
        self.downloads.finish()

    def warm(self, sizes: Iterable[tuple[int, int]], batch_sizes: Iterable[int] = (1,)) -> None:
        """Interpolate black frames of every size (H, W): `n` pairs at once, and as one clip, for each batch size `n`.

        What is compiled, chosen or recorded at first use is so before the first request comes.
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
        """x(0) of each clip, [K-1,q,l] float32."""
        if noise is None:
            chosen = [0] * len(outputs) if seeds is None else list(seeds)
            if len(chosen) != len(outputs):
                raise ValueError(f"{len(chosen)} seeds for {len(outputs)} clips")
            drawn = [noise_on(self.device, check_seed(seed), grid, self.config.latent_dim) for seed in chosen]
            return [start.expand(len(output) - 1, -1, -1) for start, output in zip(drawn, outputs, strict=True)]
        if seeds is not None:
            raise ValueError("either seeds or noise, not both")
        wanted = [(len(output) - 1, grid[0] * grid[1] // 4, self.config.latent_dim) for output in outputs]
        if (found := [tuple(start.shape) for start in noise]) != wanted:
            raise ValueError(f"noise of the shapes {found}, wanted {wanted}")
        return list(noise)

    def _room_for(
        self, count: int, size: tuple[int, int], as_uint8: bool, to_host: bool, yuv: YuvFormat | None
    ) -> Tensor:
        """Where `count` frames of a size will lie, [count,H,W,3]; planes, [count,H*3/2,W]."""
        height, width = size
        shape = (count, height * 3 // 2, width) if yuv else (count, height, width, 3)
        if as_uint8 and to_host:
            return self.downloads.room_for(shape)
        return torch.empty(shape, device=self.device, dtype=torch.uint8 if as_uint8 else torch.float32)

    def _deliver(self, made: Tensor, target: Tensor) -> None:
        if made.dtype == torch.uint8 and made.device != target.device:
            # a copy in any case: the next pass writes where this one's frames are
            self.downloads.fetch(made.clone(memory_format=torch.contiguous_format), target)
        else:
            target.copy_(made)


def _part(output: EncoderOutput, span: Span) -> EncoderOutput:
    whole = span.stop - span.start == len(output) - 1
    return output if whole else output.pairs(span.start, span.stop)
