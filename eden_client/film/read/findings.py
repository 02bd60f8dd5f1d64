"""What was found while a film's pictures were read: counted, and reported in one note of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass
class Findings:
    """Counts of what a user should know about the pictures read so far."""

    damaged: int = 0
    """samples that could not be decoded"""
    doubtful: int = 0
    """pictures that were decoded though their samples are marked as damaged"""
    held: int = 0
    """pictures shown again in place of damaged ones"""
    lost: int = 0
    """pictures that could not be decoded and had no picture before them to show instead"""
    resized: int = 0
    """pictures of another size than the first, scaled to it"""
    leaps: int = 0
    """gaps without pictures or sound, where the file's clock leaps, that were closed"""
    closed: Fraction = Fraction(0)
    """length of those gaps together, in seconds"""

    def notes(self, size: tuple[int, int]) -> list[str]:
        """One line for each kind that occurred. `size`: (H, W) of the film."""
        notes = []
        if self.damaged:
            told = [f"for {self.held} the picture before is held"] if self.held else []
            told += [f"{self.lost} before the first whole picture are left out"] if self.lost else []
            pictures = f" ({', '.join(told)})" if told else ""
            notes.append(f"damaged samples of the video: {self.damaged}{pictures}; --strict refuses such a film")
        if self.doubtful:
            notes.append(f"pictures that may show damage, where something of the file is missing: {self.doubtful}")
        if self.resized:
            notes.append(f"pictures of another size, scaled to {size[1]}x{size[0]}: {self.resized}")
        if self.leaps:
            notes.append(
                f"leaps of the clock closed, of pictures and sound alike: {self.leaps} ({shown_at(self.closed)})"
            )
        return notes


def shown_at(time: Fraction) -> str:
    """A time in a film, given in seconds, for people to read: 0:01:02.5, for example."""
    seconds, tenths = divmod(max(round(time * 10), 0), 10)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}.{tenths}"
