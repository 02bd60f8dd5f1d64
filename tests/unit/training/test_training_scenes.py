"""Scenes are what they claim: exact in the middle, as fast as asked, the same for a seed, and held out where said."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from training.scenes import Scenes, Triplets
from training.scenes.atlas import Atlas, outline_atlas, texture_atlas
from training.scenes.camera import grained, sharpened
from training.scenes.outlines import REACH
from training.scenes.script import Script
from training.scenes.sources import PHOTOGRAPHS, SURFACES, SYLLABLES
from training.sets import Sets
from training.settings import Range, Settings

HEIGHT, WIDTH = 64, 96
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes("cpu", seed=5)


def panning(scenes: Scenes, velocity: tuple[float, float], count: int = 6) -> Script:
    """Scripts in which everything moves alike, and nothing else happens."""
    script = scenes.script(torch.full((count,), 8.0), HEIGHT, WIDTH)
    still = script.faster(torch.zeros(count))
    return replace(still, velocity=still.velocity + torch.tensor(velocity), gain=torch.zeros_like(script.gain))


def bare(script: Script) -> Script:
    """Its backgrounds alone."""
    opacity = torch.zeros_like(script.opacity)
    opacity[:, 0] = 1
    return replace(script, opacity=opacity)


def test_frames_are_colours_on_the_device(scenes: Scenes) -> None:
    drawn = scenes.draw(3, HEIGHT, WIDTH, displacement=(2, 9))
    for frames in (drawn.first, drawn.middle, drawn.last):
        assert frames.shape == (3, 3, HEIGHT, WIDTH) and frames.dtype == torch.float32
        assert frames.min() >= 0 and frames.max() <= 1
    assert not torch.equal(drawn.first, drawn.last)


def test_a_seed_says_it_all() -> None:
    def drawn(seed: int) -> list[Tensor]:
        source = Scenes("cpu", seed)
        batches = [source.draw(2, HEIGHT, WIDTH, displacement=(0, 16)) for _ in range(2)]
        return [frames for batch in batches for frames in vars(batch).values()]

    assert all(torch.equal(one, other) for one, other in zip(drawn(3), drawn(3), strict=True))
    assert not torch.equal(drawn(3)[0], drawn(4)[0])
    assert not torch.equal(drawn(3)[0], drawn(3)[4]), "the second batch repeats the first"


def test_stills_are_still(scenes: Scenes) -> None:
    drawn = scenes.draw(16, HEIGHT, WIDTH, displacement=(0, 0))
    assert torch.equal(drawn.first, drawn.middle) and torch.equal(drawn.first, drawn.last)
    assert not drawn.displacement.any()


@pytest.mark.parametrize("bounds", [(0.0, 4.0), (16.0, 32.0)])
def test_displacements_lie_where_asked(scenes: Scenes, bounds: tuple[float, float]) -> None:
    reached = scenes.draw(48, HEIGHT, WIDTH, displacement=bounds).displacement
    low, high = bounds
    assert reached.min() >= low - 0.05 * high and reached.max() <= 1.05 * high
    assert reached.max() - reached.min() > 0.7 * (high - low)


def test_displacements_of_several_ranges_have_their_shares(scenes: Scenes) -> None:
    ranges = (Range(0.3, 0.2, 4, log=True), Range(0.45, 4, 24), Range(0.25, 24, 56))
    wanted = scenes.displacements(4000, ranges)
    for each in ranges:
        inside = wanted[(wanted >= each.low) & (wanted < each.high)]
        assert len(inside) == pytest.approx(4000 * each.share, rel=0.12)
        assert inside.min() < each.low * 1.05 + 0.1 and inside.max() > 0.95 * each.high
    slow = wanted[wanted < 4]
    assert slow.median() == pytest.approx((0.2 * 4) ** 0.5, rel=0.2)  # evenly by its logarithm
    assert not ((wanted < 0.2) | (wanted > 56)).any()


def test_things_turn_further_in_half_of_the_scenes() -> None:
    most = 0.35
    wanted = torch.full((64,), 12.0)
    wanted[:4] = 0
    scenes = Scenes("cpu", seed=9)
    plain = Scenes("cpu", seed=9).script(wanted, HEIGHT, WIDTH)
    script = scenes.script(wanted, HEIGHT, WIDTH, turning=most)
    speed = script.velocity.norm(dim=-1).amax(1) / plain.velocity.norm(dim=-1).amax(1).clamp(min=1e-6)
    further = (script.angle - speed[:, None] * plain.angle).abs().amax(1)[4:]
    turning = further > 0.02
    assert 0.3 < turning.float().mean() < 0.7
    assert 0.5 * most < further.max() < 1.1 * most
    drawn = scenes.film(script, HEIGHT, WIDTH)
    assert drawn.displacement[4:].min() > 11 and drawn.displacement.max() < 13
    assert not script.angle[:4].any() and torch.equal(drawn.first[:4], drawn.last[:4])


def test_the_displacement_told_is_the_one_to_be_seen(scenes: Scenes) -> None:
    """A background's pan, measured by phase correlation; the shift that registers `last` is what it moved by."""
    from skimage.registration import phase_cross_correlation  # here, since it takes half a second to import

    found = []
    for velocity in ((12.0, 0.0), (-7.0, 5.0), (3.0, -14.0)):
        drawn = scenes.film(bare(panning(scenes, velocity)), HEIGHT, WIDTH)
        assert torch.allclose(drawn.displacement, torch.tensor(velocity).norm().expand(6), rtol=1e-3)
        for first, last in zip(drawn.first.mean(1).numpy(), drawn.last.mean(1).numpy(), strict=True):
            window = np.outer(np.hanning(HEIGHT), np.hanning(WIDTH))
            flat = [(frame - frame.mean()) * window for frame in (last, first)]
            down, across = phase_cross_correlation(*flat, upsample_factor=4)[0]
            found.append(np.hypot(across - velocity[0], down - velocity[1]))
    assert np.median(found) < 0.5, found


def test_a_thing_that_is_tracked_goes_as_far_as_told(scenes: Scenes) -> None:
    """White things on black, by their centre of mass: half the way at half the time."""
    script = panning(scenes, (11.0, -6.0))
    thing, shown = torch.zeros_like(script.opacity), torch.zeros_like(script.tint)
    thing[:, 0] = thing[:, -1] = 1
    shown[:, -1] = 1
    centre = script.centre.clone()
    centre[:, -1] = 0
    script = replace(
        script,
        opacity=thing,
        tint=shown,
        colour=torch.zeros_like(script.colour),
        centre=centre,
        frame=torch.eye(2).expand_as(script.frame) / (HEIGHT / 2),
        edge=torch.full_like(script.edge, HEIGHT / 4 / REACH),
        outline=torch.full_like(script.outline, 3),
    )
    drawn = scenes.film(script, HEIGHT, WIDTH)
    places = [centre_of_mass(frames) for frames in (drawn.first, drawn.middle, drawn.last)]
    assert torch.allclose(places[2] - places[0], torch.tensor([11.0, -6.0]), atol=0.05)
    assert torch.allclose(places[1] - places[0], torch.tensor([5.5, -3.0]), atol=0.05)


def centre_of_mass(frames: Tensor) -> Tensor:
    """[B, 2], x before y."""
    mass = frames.mean(1)
    rim = mass.clone()
    rim[:, 1:-1, 1:-1] = 0
    assert (mass.amax((1, 2)) > 0.9).all() and not rim.any(), "the thing is not whole in the frame"
    total = mass.sum((1, 2))
    across, down = torch.arange(WIDTH).float(), torch.arange(HEIGHT).float()
    return torch.stack([(mass.sum(1) * across).sum(-1) / total, (mass.sum(2) * down).sum(-1) / total], -1)


@pytest.mark.parametrize("across, down", [(4, 0), (-6, 3), (0, -10)])
def test_the_middle_of_a_pan_is_the_first_frame_half_way(scenes: Scenes, across: int, down: int) -> None:
    drawn = scenes.film(panning(scenes, (2 * across, 2 * down)), HEIGHT, WIDTH)
    for earlier, later in ((drawn.first, drawn.middle), (drawn.middle, drawn.last)):
        shifted = earlier.roll((down, across), (-2, -1))
        inner = (..., slice(10, -10), slice(10, -10))
        assert torch.allclose(shifted[inner], later[inner], atol=5e-3)


def test_time_runs_backwards_alike(scenes: Scenes) -> None:
    """All kinds of motion are symmetric about the middle, so that it is nearer to neither neighbour."""
    script = scenes.script(torch.linspace(4, 20, 8), HEIGHT, WIDTH)
    there = scenes.film(script, HEIGHT, WIDTH)
    back = scenes.film(replace(script.faster(-torch.ones(8)), gain=-script.gain), HEIGHT, WIDTH)
    for one, other in ((there.first, back.last), (there.middle, back.middle), (there.last, back.first)):
        assert torch.allclose(one, other, atol=1e-4)
    assert script.angle.any() and script.zoom.any() and script.shear.any() and script.warp.any() and script.gain.any()


def test_the_middle_is_as_sharp_as_its_neighbours(scenes: Scenes) -> None:
    drawn = scenes.draw(96, HEIGHT, WIDTH, displacement=(2, 16))

    def sharpness(frames: Tensor) -> float:
        return (frames.diff(dim=-1).abs().mean() + frames.diff(dim=-2).abs().mean()).item()

    middle, around = sharpness(drawn.middle), (sharpness(drawn.first) + sharpness(drawn.last)) / 2
    assert middle == pytest.approx(around, rel=0.01)


def test_averaging_leaves_ghosts_where_things_move(scenes: Scenes) -> None:
    def error(triplets: Triplets) -> float:
        return ((triplets.first + triplets.last) / 2 - triplets.middle).square().mean().item()

    near, far = (error(scenes.draw(48, HEIGHT, WIDTH, displacement=bounds)) for bounds in ((0, 1), (16, 24)))
    assert far > 8 * near


def test_held_out_scenes_share_no_source() -> None:
    named = [{*PHOTOGRAPHS[held_out], *SURFACES[held_out]} for held_out in (False, True)]
    files_of = [{digest(read(name)) for name in names} for names in named]
    words = [
        {"".join(word) for length in (1, 2, 3) for word in product(SYLLABLES[held_out], repeat=length)}
        for held_out in (False, True)
    ]
    for training, held_out in (named, files_of, words):
        assert training and held_out and not training & held_out
    for atlas in (texture_atlas, outline_atlas):
        training, held_out = (pictures(atlas(which, CPU)) for which in (False, True))
        assert not training & held_out


def read(name: str) -> bytes:
    package, _, inside = name.partition("/")
    return (files(package) / inside).read_bytes()


def pictures(atlas: Atlas) -> set[str]:
    """Digests of all pictures of an atlas, cut out where its numbers say that they lie."""
    whole = torch.tensor(atlas.sheet.shape[:-3:-1])
    found = set()
    for corner, (wide, high) in zip((atlas.corners + 1) / 2 * whole, atlas.sizes.tolist(), strict=True):
        left, top = corner.round().int().tolist()
        found.add(digest(atlas.sheet[0, :, top : top + high, left : left + wide].numpy().tobytes()))
    assert len(found) > 0.95 * len(atlas.sizes), "they are not where they should be"
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_sharpening_adds_what_a_blur_takes_away() -> None:
    """An edge overshoots by as much as told; slopes, and frames with strength 0, stay as they are."""
    edge = torch.full((2, 3, 8, 12), 0.25)
    edge[..., 6:] = 0.5
    slope = torch.linspace(0.2, 0.8, 12).expand(1, 3, 8, 12)
    none, strong = sharpened(edge, torch.tensor([0.0, 2.0]))
    assert torch.equal(none, edge[0])
    # a quarter of the step of 0.25 leaks over the edge in a blur
    torch.testing.assert_close(strong[:, :, 5:7], edge[1, :, :, 5:7] + torch.tensor([-0.125, 0.125]))
    assert torch.equal(strong[:, :, :5], edge[1, :, :, :5]) and torch.equal(strong[:, :, 7:], edge[1, :, :, 7:])
    inner = sharpened(slope, torch.tensor([3.0]))[..., 1:-1]
    torch.testing.assert_close(inner, slope[..., 1:-1])


def test_grain_is_new_in_every_pixel() -> None:
    generator = torch.Generator().manual_seed(3)
    grey = torch.full((2, 3, 64, 64), 0.5)
    none, grain = grained(grey, torch.tensor([0.0, 0.02]), generator)
    assert torch.equal(none, grey[0])
    assert (grain - 0.5).std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([grain[0].flatten(), grain[1].flatten()]))[0, 1].item()) < 0.05


def test_sets_are_sharpened_in_all_frames_and_grained_in_the_outer_two() -> None:
    none, all_of = Range(0.0, 0.0, 0.0), Range(1.0, 0.02, 0.02)

    def drawn(sharpening: Range, grain: Range) -> Tensor:
        settings = Settings(size=(64, 96), scenes=8, sharpening=sharpening, grain=grain)
        return Sets(settings).get(0).float() / 255

    plain, grainy, sharp = drawn(none, none), drawn(none, all_of), drawn(Range(1.0, 2.0, 2.0), none)
    assert torch.equal(grainy[:, 1], plain[:, 1])
    assert all(0.01 < (grainy[:, each] - plain[:, each]).std() < 0.03 for each in (0, 2))
    torch.testing.assert_close(sharp[:, 1], sharpened(plain[:, 1], torch.full((8,), 2.0)), atol=0.02, rtol=0)
    assert all(
        sharp[:, each].diff(dim=-1).abs().mean() > 1.2 * plain[:, each].diff(dim=-1).abs().mean() for each in range(3)
    )
