"""Sets of scenes: one in use, while the next is drawn in parts, on a GPU by a stream of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from training.ranks import ALONE, Ranks
from training.scenes import Scenes
from training.scenes.camera import grained, sharpened
from training.settings import Range, Settings

AT_ONCE = 64
"""Scenes drawn together, which bounds memory."""


class Sets:
    """Sets [scenes,3,3,H,W] uint8: scenes, the three frames of a triplet in order, colours.

    A set depends on the seed, its number and the rank alone. Two sets are held, always in the same memory.
    """

    def __init__(self, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.settings, self.ranks = settings, ranks
        device = torch.device(settings.device)
        self._current, self._next = (
            torch.empty(settings.scenes, 3, 3, *settings.size, dtype=torch.uint8, device=device) for _ in range(2)
        )
        self._number: int | None = None
        self._drawing: Drawing | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def get(self, number: int) -> Tensor:
        """Set `number`, which is valid until another is asked for."""
        if number != self._number:
            self.draw_ahead(number, 1.0)
            if self._stream is not None:
                torch.cuda.current_stream().wait_stream(self._stream)
            self._current, self._next = self._next, self._current
            self._number, self._drawing = number, None
        return self._current

    def draw_ahead(self, number: int, share: float) -> None:
        """Have this fraction of set `number` drawn, in whole chunks, without waiting for the device."""
        if self._stream is None:
            self._draw(number, share)
            return
        if self._drawing is None:
            self._stream.wait_stream(torch.cuda.current_stream())  # work that still reads the memory drawn into
        with torch.cuda.stream(self._stream):
            self._draw(number, share)

    def _draw(self, number: int, share: float) -> None:
        if self._drawing is None or self._drawing.number != number:
            self._drawing = Drawing(self.settings, number, self.ranks)
        self._drawing.go_on(self._next, share)


class Drawing:
    """A set that is being drawn."""

    def __init__(self, settings: Settings, number: int, ranks: Ranks) -> None:
        self.settings, self.number = settings, number
        seed = settings.seed * 1_000_003 + number * ranks.count + ranks.number
        self._scenes, self._done = Scenes(settings.device, seed), 0
        self._camera = torch.Generator(settings.device).manual_seed(seed + 2**40)

    def go_on(self, into: Tensor, share: float) -> None:
        """Draw the chunks that end within the fraction `share` of `into`; 1.0 draws all."""
        due = int(len(into) * share)
        while self._done < len(into) and min(self._done + AT_ONCE, len(into)) <= due:
            room = into[self._done : self._done + AT_ONCE]
            self._draw(room)
            self._done += len(room)

    def _draw(self, room: Tensor) -> None:
        settings = self.settings
        stills = round(settings.scenes * settings.stills)
        still = min(max(stills - self._done, 0), len(room))
        wanted = self._scenes.displacements(len(room), settings.displacements)
        wanted[:still] = 0
        drawn = self._scenes.draw_moving(wanted, *settings.size, turning=settings.turning)
        sharpness, grain = (self._of_some(each, len(room)) for each in (settings.sharpening, settings.grain))
        first, middle, last = (sharpened(each, sharpness) for each in (drawn.first, drawn.middle, drawn.last))
        first, last = (grained(each, grain, self._camera) for each in (first, last))
        for frame, finished in zip(room.unbind(1), (first, middle, last), strict=True):
            frame.copy_(finished.mul_(255).round_())

    def _of_some(self, values: Range, count: int) -> Tensor:
        """Random values [count] of `values`, and 0 for the scenes that it is not for."""
        chance, place = torch.rand(2, count, generator=self._camera, device=self._camera.device)
        return torch.where(chance < values.share, values.at(place), 0.0)
