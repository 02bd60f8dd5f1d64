"""What was found in a film's pictures on the way: counted where they are read, told as one note of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass
class Findings:
    """Counts of what a user should know about the pictures read so far."""

    damaged: int = 0
    """samples that cannot be decoded"""
    doubtful: int = 0
    """pictures of samples that the container marks as damaged, decoded all the same"""
    held: int = 0
    """pictures shown again in place of damaged ones"""
    lost: int = 0
    """pictures that cannot be decoded, with none before them to be shown again"""
    resized: int = 0
    """pictures of another size than the first, scaled to it"""
    leaps: int = 0
    """holes in which the file's clock leaps and nothing is shown or heard"""
    closed: Fraction = Fraction(0)
    """their length, in seconds"""

    def notes(self, size: tuple[int, int]) -> list[str]:
        """One line for each kind; `size`: (H, W) of the film."""
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
    """A time in a film, in seconds, as people write it."""
    seconds, tenths = divmod(max(round(time * 10), 0), 10)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}.{tenths}"
