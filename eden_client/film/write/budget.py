"""Divides the memory for a film among its stages, by the size of its pictures."""

from __future__ import annotations

from media.machine import cores

DEFAULT = 2 << 30
"""Bytes for a film, in all."""
_PROGRAM = 200 << 20
"""Bytes that the program takes without pictures: its libraries, the decoder."""
_PROCESS = 100 << 20
"""Bytes that each further process takes without pictures."""
_SENT = 12
"""Bytes per pixel of a frame that is being drawn: as decoded, as RGB, as sent, as answered."""
_WAITING = 3
"""Bytes per pixel of a frame that waits for its encoder."""
_ENCODER = 60 << 20
"""Bytes that an encoder takes for pictures of any size."""
_ENCODED = 220
"""Bytes per pixel that an encoder holds: about fifty frames of lookahead and references, and data about them.

Together with `_ENCODER` that is more than libx264, libx265 and libvpx-vp9 were measured to take at their default
presets, and libx264 at slow. libsvtav1 takes a seventh more at 480x854, slower presets more, libx264's ultrafast a
sixth of it.
"""

_DECODED = 5
"""Bytes per pixel that each thread takes that decodes a film for the planner; 3 to 5 were measured."""
_PLANNERS = 8
"""The most such threads: with these, a film no longer waits for its planning."""
_COMPARING = 2
"""The most threads that compare its pictures, since they share Python's lock. Beside eight that decode, on 16 cores, a
picture of 480x854 took 1.2 ms with one of them, 1.0 with two, 1.3 with eight."""


def encoder_bytes(pixels: int) -> int:
    """Bytes that the encoder of one segment may take, for pictures of `pixels`."""
    return _ENCODER + _ENCODED * pixels


class Budget:
    """How much of a film with pictures of `size` (H, W) may be in memory at once.

    memory  bytes in all
    clip    frames sent per call
    window  calls that the client may make at once
    """

    def __init__(self, memory: int, size: tuple[int, int], clip: int, window: int) -> None:
        pixels = size[0] * size[1]
        free = max(0, memory - _PROGRAM)
        self.window = max(1, min(window, free // 6 // (clip * pixels * _SENT)))
        """Calls at once."""
        self.waiting = max(2, free // 6 // (pixels * _WAITING))
        """Frames that wait for their encoders."""
        self.segments = max(1, min(cores(), free * 2 // 3 // encoder_bytes(pixels)))
        """Segments encoded at once, where this process works alone."""
        each = _PROCESS + encoder_bytes(pixels) + pixels * clip * _SENT
        self.planners = max(1, min(_PLANNERS, cores() // 4, free // 12 // (pixels * _DECODED)))
        """Threads that decode the film for the planner, where other processes make it."""
        self.comparing = min(_COMPARING, self.planners)
        """Threads that compare its pictures meanwhile."""
        self.processes = max(1, min(cores(), (free - self.planners * pixels * _DECODED) // each))
        """Processes at once, which make a segment each."""
