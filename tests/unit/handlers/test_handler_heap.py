"""A worker's frames come from memory that it already has."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

COUNT = """
import resource
import numpy as np
kept = None
if {asked}:
    from handlers.quirks import keep_freed_memory
    kept = keep_freed_memory()
def frames():
    clips = [np.stack([np.full((480, 854, 3), i, np.uint8) for i in range(8)]) for _ in range(2)]
    return np.stack(clips).sum()
frames()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    frames()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4)
"""


def faults(asked: bool) -> tuple[str, int]:
    """What `keep_freed_memory` said, and page faults for two clips of 10 MB and both together."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(asked=asked)], stdout=subprocess.PIPE, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept, int(count)


def test_frames_cost_no_page_faults_once_memory_is_kept():
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    kept, few = faults(asked=True)
    assert kept == "True"
    _, many = faults(asked=False)
    assert many > 2000, "glibc maps each frame anew by default; if not, this module has no use any more"
    assert few < many / 10
