"""The first half of EDEN: frames to tokens, each frame by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from eden.batch import bucket_size
from eden.checkpoint import load_half
from eden.config import EdenConfig
from eden.geometry import as_intensities, one_grid, pad, padded_grid, to_patches
from eden.graphs import GraphCache, drop_recorded
from eden.grid_constants import grid_constants
from eden.output import EncoderOutput
from eden.pass_size import PassSize, is_out_of_memory
from eden.patch_tokens import PatchTokens
from eden.planes import Planes, YuvFormat, to_rgb
from eden.precision import computing, dtype_of
from eden.streams import new_stream, on_stream, stage

STD_EPS = 1e-8

TOKENS_PER_PASS = {"cuda": 131072, "cpu": 16384}
"""Most patch tokens per pass, by device type: on a GPU 16 frames of 1080x1920."""

TOKENS_PER_GRAPH = 16384
"""Most patch tokens of a pass that is recorded as a CUDA graph: two frames of 1080x1920. Larger ones gain nothing."""

GRAPHS_KEPT = 16
"""CUDA graphs that are kept, the most recently used."""

Clip = Tensor | Planes
"""K >= 2 frames, on any device: [K,3,H,W], uint8 or floating point in [0,1]; or planes, which the encoder converts."""


class Tokens(NamedTuple):
    """Tokens and statistics of F frames, of one clip or several."""

    cond_dit: Tensor
    """[F,n,d]"""
    cond_dec: Tensor
    """[F,n,d]"""
    mean: Tensor
    """[F] float32"""
    std: Tensor
    """[F] float32"""
    difference: Tensor
    """[F-1] float32, of each frame and the next, even where that one belongs to another clip"""


def clip_size(clip: Clip) -> tuple[int, int]:
    """(H, W) of a clip's frames, in pixels."""
    return clip.size if isinstance(clip, Planes) else (clip.shape[-2], clip.shape[-1])


def difference(frames: Tensor, config: EdenConfig) -> Tensor:
    """Unpadded frames [K,3,H,W] -> [K-1], how much each differs from the next (docs/model.md: "Difference")."""
    similarity = torch.cosine_similarity(frames[:-1], frames[1:], dim=1).mean(dim=(1, 2))
    return (similarity - config.cos_sim_mean) / config.cos_sim_std


class Encoder:
    """Frames to `EncoderOutput`, on one device, in one precision ("fp32", "tf32" or "bf16"). Not thread-safe."""

    def __init__(self, config: EdenConfig, network: PatchTokens, device: torch.device, precision: str) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.dtype = dtype_of(precision)
        self.network = network.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.pass_size = PassSize(TOKENS_PER_PASS[device.type], f"encoder on {device}")
        self.stream = new_stream(device)
        self.graphs: GraphCache[Tensor, Tokens] | None = None if self.stream is None else GraphCache(GRAPHS_KEPT)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> Encoder:
        """Load the encoder's half of the checkpoint at `path` (see eden.checkpoint).

        Raises CheckpointError, and ValueError for an unknown precision.
        """
        dtype_of(precision)
        config, tensors = load_half(path, "encoder")
        with torch.device("meta"):
            network = PatchTokens(config)
        network.load_state_dict(tensors, assign=True)
        return cls(config, network, torch.device(device), precision)

    @property
    def out_of_memory(self) -> int:
        """How often memory has run out; each time passes become smaller for a while (see eden.pass_size)."""
        return self.pass_size.out_of_memory

    def encode(self, frames: Clip) -> EncoderOutput:
        """One clip -> its tokens. Raises like `encode_clips`."""
        return self.encode_clips([frames])[0]

    @torch.inference_mode()
    def encode_clips(self, clips: Sequence[Clip]) -> list[EncoderOutput]:
        """The tokens of each clip.

        All clips must have one grid, and are computed together; their lengths and sizes may differ.
        On a GPU the work is queued on the current stream and not waited for. When a pass runs out of memory it is
        computed again with half as many frames, down to single ones (see eden.pass_size).
        Raises ValueError for frames of another shape or too small, for a clip of one frame, and for clips of different
        grids (naming two); TypeError for frames that are neither uint8 nor floating point; torch.OutOfMemoryError if a
        single frame is too much.
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
            with on_stream(self.stream) as made:
                cond_dit, cond_dec, mean, std, differences = tokens = self._tokens(frames, grid, yuv)
                made.extend(tokens)
            first = 0
            for i in indices:
                own = slice(first, first + len(clips[i]))
                pairs = differences[first : own.stop - 1]
                size = clip_size(clips[i])
                outputs[i] = EncoderOutput(cond_dit[own], cond_dec[own], mean[own], std[own], pairs, grid, size)
                first = own.stop
        return [outputs[i] for i in range(len(clips))]

    def _tokens(self, clips: Sequence[Tensor], grid: tuple[int, int], yuv: YuvFormat | None) -> Tokens:
        """Clips of one size, F frames in all -> their tokens. `yuv`: the format if they are planes."""
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
            # outside the `except`: its error keeps the failed pass's tensors alive
            held = drop_recorded(self.graphs)
            self.pass_size.ran_out(few, tokens)
            if few == 1 and not held:
                raise torch.OutOfMemoryError(reason)
            few = max(1, min(few // 2, self.pass_size.items(tokens)))

    def _in_passes(self, clips: Sequence[Tensor], few: int, grid: tuple[int, int], yuv: YuvFormat | None) -> Tokens:
        """Like `_tokens`, in passes of `few` frames."""
        count = sum(map(len, clips))
        if self.graphs is not None and few == count and count * grid[0] * grid[1] <= TOKENS_PER_GRAPH:
            return self._replayed(self.graphs, [self._pixels(clip, yuv) for clip in clips], count, grid)
        frames = torch.cat([clip.to(self.device, non_blocking=True) for clip in clips])
        # each pass gets one more frame than it encodes, for the difference between that and its last one
        passes = (self._pixels(frames[i : i + few + 1], yuv) for i in range(0, count, few))
        parts = [self._compute(pixels, few, grid) for pixels in passes]
        return parts[0] if len(parts) == 1 else Tokens(*map(torch.cat, zip(*parts, strict=True)))

    def _pixels(self, samples: Tensor, yuv: YuvFormat | None) -> Tensor:
        """Frames [F,3,H,W]: `samples` itself, or planes of the format `yuv` converted to RGB on the device."""
        return samples if yuv is None else to_rgb(Planes(samples.to(self.device, non_blocking=True), yuv))

    def _replayed(
        self, graphs: GraphCache[Tensor, Tokens], clips: Sequence[Tensor], count: int, grid: tuple[int, int]
    ) -> Tokens:
        """Like `_tokens`, for `count` frames in one recorded pass."""
        size, by_pixel = bucket_size(count), clips[0].stride(1) == 1
        captured = graphs.get(
            (size, clips[0].shape[1:], clips[0].dtype, by_pixel),
            make_inputs=lambda: _zeros_like(size, clips[0], by_pixel, self.device),
            compute=lambda frames: self._compute(frames, size, grid),
            kept=grid_constants(grid, self.config.hidden_dim, self.device, self.dtype),
        )
        for target, clip in zip(torch.split(captured.inputs[:count], list(map(len, clips))), clips, strict=True):
            target.copy_(clip, non_blocking=True)
        return Tokens(*(tensor[:count].clone() for tensor in captured.replay()))

    def _compute(self, frames: Tensor, count: int, grid: tuple[int, int]) -> Tokens:
        """Tokens of the first `count` of F frames [F,3,H,W], and the F - 1 differences of neighbours.

        docs/model.md: "Padding", "Standardising", "Encoder".
        """
        constants = grid_constants(grid, self.config.hidden_dim, self.device, self.dtype)
        intensities = as_intensities(frames)
        padded = pad(intensities[:count], self.config.patch_size)
        std, mean = torch.std_mean(padded, dim=(1, 2, 3), keepdim=True)
        patches = to_patches((padded - mean) / (std + STD_EPS), self.config.patch_size)
        with computing(self.precision):
            cond_dit, cond_dec = self.network(patches.to(self.dtype), constants)
        return Tokens(cond_dit, cond_dec, mean.flatten(), std.flatten(), difference(intensities, self.config))

    def warm(self, sizes: Iterable[tuple[int, int]], batch_sizes: Iterable[int] = (1,)) -> None:
        """Encode black frames of each size (H, W), as many pairs as each batch size says.

        They are RGB in pixel order; if both sides are even, planes are encoded as well.
        So kernels are compiled and graphs recorded before the first request.
        """
        for (height, width), pairs in product(sizes, batch_sizes):
            if height % 2 == width % 2 == 0:
                black = torch.zeros(2, height * 3 // 2, width, dtype=torch.uint8)
                self.encode_clips([Planes(black, YuvFormat())] * pairs)
            black = torch.zeros(2, height, width, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
            self.encode_clips([black] * pairs)

    def _grid(self, clip: Clip) -> tuple[int, int]:
        """A clip's grid. Raises ValueError and TypeError as `encode_clips` describes."""
        if isinstance(clip, Tensor):
            if clip.ndim != 4 or clip.shape[1] != 3:
                raise ValueError(f"frames must have the shape [K,3,H,W], not {list(clip.shape)}")
            if clip.dtype != torch.uint8 and not clip.is_floating_point():
                raise TypeError(f"frames must be uint8 or floating point, not {clip.dtype}")
        if len(clip) < 2:
            raise ValueError(f"a clip must have at least 2 frames, not {len(clip)}")
        return padded_grid(*clip_size(clip), self.config.patch_size)


def _samples(clip: Clip) -> Tensor:
    return clip.samples if isinstance(clip, Planes) else clip


def _yuv(clip: Clip) -> YuvFormat | None:
    return clip.format if isinstance(clip, Planes) else None


def _zeros_like(count: int, like: Tensor, by_pixel: bool, device: torch.device) -> Tensor:
    """Zeros [count,3,H,W] on `device`, type and size as of `like`; `by_pixel`: in memory as [count,H,W,3]."""
    colours, height, width = like.shape[1:]
    if by_pixel:
        return torch.zeros(count, height, width, colours, device=device, dtype=like.dtype).permute(0, 3, 1, 2)
    return torch.zeros(count, colours, height, width, device=device, dtype=like.dtype)
