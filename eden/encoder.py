"""From frames to tokens: the half of EDEN that looks at each frame by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from eden.batch import enough
from eden.checkpoint import load_half
from eden.config import EdenConfig
from eden.geometry import as_intensities, one_grid, pad, padded_grid, to_patches
from eden.graphs import GraphCache, drop_recorded
from eden.output import EncoderOutput
from eden.pass_size import PassSize, is_out_of_memory
from eden.patch_tokens import PatchTokens
from eden.place import place_of
from eden.planes import Planes, YuvFormat, to_rgb
from eden.precision import computing, dtype_of
from eden.streams import in_turn, new_stream, stage

STD_EPS = 1e-8

TOKENS_A_PASS = {"cuda": 131072, "cpu": 16384}
"""Patch tokens of the frames computed together: on a GPU 16 frames of 1080x1920."""

TOKENS_A_GRAPH = 16384
"""Patch tokens of the frames up to which launches are worth saving: two frames of 1080x1920."""

GRAPHS_KEPT = 16

Clip = Tensor | Planes
"""K >= 2 frames, on any device: [K,3,H,W], uint8 or floating in [0,1]; or planes, which become RGB on the encoder's."""


class Tokens(NamedTuple):
    """What F frames of any clips become."""

    cond_dit: Tensor
    """[F,n,d]"""
    cond_dec: Tensor
    """[F,n,d]"""
    mean: Tensor
    """[F] float32"""
    std: Tensor
    """[F] float32"""
    apart: Tensor
    """[F-1] float32, each frame's difference from the next, of its own clip or not"""


def clip_size(clip: Clip) -> tuple[int, int]:
    """(H, W) of a clip's frames, in pixels."""
    return clip.size if isinstance(clip, Planes) else (clip.shape[-2], clip.shape[-1])


def difference(frames: Tensor, config: EdenConfig) -> Tensor:
    """Unpadded frames [K,3,H,W] -> [K-1], how much each differs from the next (docs/model.md: "Difference")."""
    similarity = torch.cosine_similarity(frames[:-1], frames[1:], dim=1).mean(dim=(1, 2))
    return (similarity - config.cos_sim_mean) / config.cos_sim_std


class Encoder:
    """Frames to `EncoderOutput`, on one device in one precision. One thread at a time may use it."""

    def __init__(self, config: EdenConfig, network: PatchTokens, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dtype = dtype_of(precision)
        self.network = network.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.pass_size = PassSize(TOKENS_A_PASS[device.type], f"encoder on {device}")
        self.stream = new_stream(device)
        self.graphs: GraphCache[Tensor, Tokens] | None = None if self.stream is None else GraphCache(GRAPHS_KEPT)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> Encoder:
        """The encoder's half of the checkpoint at `path` (see eden.checkpoint). Raises CheckpointError."""
        dtype_of(precision)
        config, tensors = load_half(path, "encoder")
        with torch.device("meta"):
            network = PatchTokens(config)
        network.load_state_dict(tensors, assign=True)
        return cls(config, network, torch.device(device), precision)

    @property
    def out_of_memory(self) -> int:
        """How often memory ran out since the start, for a server's metrics. Each time passes become smaller a while."""
        return self.pass_size.out_of_memory

    def encode(self, frames: Clip) -> EncoderOutput:
        """One clip -> its tokens."""
        return self.encode_clips([frames])[0]

    @torch.inference_mode()
    def encode_clips(self, clips: Sequence[Clip]) -> list[EncoderOutput]:
        """Clips of one grid, computed together; their lengths and sizes may differ. Each as `encode` gives it.

        On a GPU the tokens are ready in the order of the current stream, and nothing here waits for them. What runs out
        of memory is computed again in passes of half as many frames, down to single ones (see eden.pass_size).
        Raises ValueError for frames of another shape or too small, for a clip of one frame, and for two grids, both
        named; TypeError for frames that are neither uint8 nor floating point; torch.OutOfMemoryError where passes of a
        single frame are too much.
        """
        if not clips:
            return []
        grid = one_grid(map(self._grid, clips))
        alike: dict[tuple[torch.Size, torch.dtype, YuvFormat | None], list[int]] = {}
        for i, clip in enumerate(clips):
            samples = _samples(clip)
            alike.setdefault((samples.shape[1:], samples.dtype, _yuv(clip)), []).append(i)
        outputs: dict[int, EncoderOutput] = {}
        for (_, _, yuv), indices in alike.items():
            frames = [stage(_samples(clips[i]), self.device) for i in indices]
            with in_turn(self.stream) as made:
                cond_dit, cond_dec, mean, std, apart = tokens = self._tokens(frames, grid, yuv)
                made.extend(tokens)
            first = 0
            for i in indices:
                own = slice(first, first + len(clips[i]))
                inner = slice(first, own.stop - 1)
                size = clip_size(clips[i])
                outputs[i] = EncoderOutput(cond_dit[own], cond_dec[own], mean[own], std[own], apart[inner], grid, size)
                first = own.stop
        return [outputs[i] for i in range(len(clips))]

    def _tokens(self, clips: Sequence[Tensor], grid: tuple[int, int], yuv: YuvFormat | None) -> Tokens:
        """Clips of one size, F frames in all -> their tokens. `yuv`: of those that are planes."""
        tokens = grid[0] * grid[1]
        few = min(sum(map(len, clips)), self.pass_size.items(tokens))
        while True:
            try:
                made = self._in_passes(clips, few, grid, yuv)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            else:
                self.pass_size.went_well(few, tokens)
                return made
            # past the `except`, whose error kept alive what the failed pass had allocated
            held = drop_recorded(self.graphs)
            self.pass_size.ran_out(few, tokens)
            if few == 1 and not held:
                raise torch.OutOfMemoryError(reason)
            few = max(1, min(few // 2, self.pass_size.items(tokens)))

    def _in_passes(self, clips: Sequence[Tensor], few: int, grid: tuple[int, int], yuv: YuvFormat | None) -> Tokens:
        """As `_tokens`, `few` frames at a time."""
        count = sum(map(len, clips))
        if self.graphs is not None and few == count and count * grid[0] * grid[1] <= TOKENS_A_GRAPH:
            return self._replayed(self.graphs, [self._pixels(clip, yuv) for clip in clips], count, grid)
        frames = torch.cat([clip.to(self.device, non_blocking=True) for clip in clips])
        # one frame more than is encoded, for the difference between the last and it
        passes = (self._pixels(frames[i : i + few + 1], yuv) for i in range(0, count, few))
        parts = [self._compute(pixels, few, grid) for pixels in passes]
        return parts[0] if len(parts) == 1 else Tokens(*map(torch.cat, zip(*parts, strict=True)))

    def _pixels(self, samples: Tensor, yuv: YuvFormat | None) -> Tensor:
        """Frames [F,3,H,W]: as they are, or planes of that format as RGB on the device."""
        return samples if yuv is None else to_rgb(Planes(samples.to(self.device, non_blocking=True), yuv))

    def _replayed(
        self, graphs: GraphCache[Tensor, Tokens], clips: Sequence[Tensor], count: int, grid: tuple[int, int]
    ) -> Tokens:
        """As `_tokens`, of `count` frames in one recorded pass."""
        places, by_pixel = enough(count), clips[0].stride(1) == 1
        captured = graphs.get(
            (places, clips[0].shape[1:], clips[0].dtype, by_pixel),
            make_inputs=lambda: _room_for(places, clips[0], by_pixel, self.device),
            compute=lambda frames: self._compute(frames, places, grid),
            kept=place_of(grid, self.config.hidden_dim, self.device, self.dtype),
        )
        for room, clip in zip(torch.split(captured.inputs[:count], list(map(len, clips))), clips, strict=True):
            room.copy_(clip, non_blocking=True)
        return Tokens(*(tensor[:count].clone() for tensor in captured.replay()))

    def _compute(self, frames: Tensor, count: int, grid: tuple[int, int]) -> Tokens:
        """The tokens of the first `count` of a few frames [F,3,H,W]; the last of all has no next, and no difference."""
        place = place_of(grid, self.config.hidden_dim, self.device, self.dtype)
        intensities = as_intensities(frames)
        padded = pad(intensities[:count], self.config.patch_size)
        std, mean = torch.std_mean(padded, dim=(1, 2, 3), keepdim=True)
        patches = to_patches((padded - mean) / (std + STD_EPS), self.config.patch_size)
        with computing(self.precision):
            cond_dit, cond_dec = self.network(patches.to(self.dtype), place)
        return Tokens(cond_dit, cond_dec, mean.flatten(), std.flatten(), difference(intensities, self.config))

    def warm(self, sizes: Iterable[tuple[int, int]], batch_sizes: Iterable[int] = (1,)) -> None:
        """Encode black frames of every size (H, W), laid out pixel by pixel, and as planes where both sides are even:
        pairs, as many as each batch size says.

        What is compiled or chosen at first use is so before the first request comes.
        """
        for (height, width), pairs in product(sizes, batch_sizes):
            if height % 2 == width % 2 == 0:
                black = torch.zeros(2, height * 3 // 2, width, dtype=torch.uint8)
                self.encode_clips([Planes(black, YuvFormat())] * pairs)
            black = torch.zeros(2, height, width, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
            self.encode_clips([black] * pairs)

    def _grid(self, clip: Clip) -> tuple[int, int]:
        """The grid that a clip gets. Raises ValueError, TypeError for what is no clip."""
        if isinstance(clip, Tensor):
            if clip.ndim != 4 or clip.shape[1] != 3:
                raise ValueError(f"frames have the shape [K,3,H,W], not {list(clip.shape)}")
            if clip.dtype != torch.uint8 and not clip.is_floating_point():
                raise TypeError(f"frames are uint8 or floating point, not {clip.dtype}")
        if len(clip) < 2:
            raise ValueError(f"a clip has at least 2 frames, not {len(clip)}")
        return padded_grid(*clip_size(clip), self.config.patch_size)


def _samples(clip: Clip) -> Tensor:
    return clip.samples if isinstance(clip, Planes) else clip


def _yuv(clip: Clip) -> YuvFormat | None:
    return clip.format if isinstance(clip, Planes) else None


def _room_for(count: int, like: Tensor, by_pixel: bool, device: torch.device) -> Tensor:
    """[count,3,H,W] on `device`, in memory pixel by pixel or colour by colour."""
    colours, height, width = like.shape[1:]
    if by_pixel:
        return torch.zeros(count, height, width, colours, device=device, dtype=like.dtype).permute(0, 3, 1, 2)
    return torch.zeros(count, colours, height, width, device=device, dtype=like.dtype)
