"""How a film's memory is shared out, by the size of its pictures."""

from __future__ import annotations

from media.machine import cores

DEFAULT = 2 << 30
"""Bytes, all together."""
_PROGRAM = 200 << 20
"""Bytes that the program takes without any picture: its libraries, the decoder."""
_PROCESS = 100 << 20
"""Bytes that each further process takes without any picture."""
_SENT = 12
"""Bytes per pixel of a frame on its way: as decoded, as RGB, as sent, as answered."""
_WAITING = 3
"""Bytes per pixel of a frame that waits for its encoder."""
_ENCODER = 60 << 20
"""Bytes that an encoder takes for pictures of any size."""
_ENCODED = 220
"""Bytes per pixel that an encoder holds: some fifty frames that it looks ahead at and refers to, and what it knows.

With the other constant, above what libx264, libx265 and libvpx-vp9 were measured to take at their default presets, and
libx264 at slow; libsvtav1 takes a seventh more at 480x854, slower presets more, libx264's ultrafast a sixth.
"""

_DECODED = 5
"""Bytes per pixel that each thread takes that decodes a film to be planned; measured: 3 to 5."""
_PLANNERS = 8
"""Such threads at most: then planning is no longer what a film waits for."""
_COMPARING = 2
"""Threads at most that compare its pictures: they share Python's lock. A picture of 480x854 took 1.2 ms by one of them,
1.0 by two, 1.3 by eight, beside eight that decode, on 16 cores."""


def encoder_bytes(pixels: int) -> int:
    """What the encoder of one segment may take, for pictures of so many pixels."""
    return _ENCODER + _ENCODED * pixels


class Budget:
    """What may be in memory at once of a film with pictures of `size` (H, W).

    memory  bytes in all
    clip    frames sent together
    window  calls that the client may make at once
    """

    def __init__(self, memory: int, size: tuple[int, int], clip: int, window: int) -> None:
        pixels = size[0] * size[1]
        free = max(0, memory - _PROGRAM)
        self.window = max(1, min(window, free // 6 // (clip * pixels * _SENT)))
        """Calls side by side."""
        self.waiting = max(2, free // 6 // (pixels * _WAITING))
        """Frames that wait for their encoders."""
        self.segments = max(1, min(cores(), free * 2 // 3 // encoder_bytes(pixels)))
        """Segments encoded at the same time, by this process alone."""
        each = _PROCESS + encoder_bytes(pixels) + pixels * clip * _SENT
        self.planners = max(1, min(_PLANNERS, cores() // 4, free // 12 // (pixels * _DECODED)))
        """Threads that decode the film to be planned, where other processes make it."""
        self.comparing = min(_COMPARING, self.planners)
        """Threads that compare its pictures meanwhile."""
        self.processes = max(1, min(cores(), (free - self.planners * pixels * _DECODED) // each))
        """Processes that make a segment each at the same time."""
