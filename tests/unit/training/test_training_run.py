"""The run: what it learns from, how its rate goes, and that stopping changes nothing."""

import json
import os
import shutil
from dataclasses import asdict, replace
from typing import NamedTuple

import pytest
import torch
from torch import multiprocessing

from server.settings import Ports
from training.batches import Batch, Batches
from training.judging import Figures
from training.network import Window
from training.ranks import Ranks
from training.run import Diverged, Run
from training.schedule import large_share, memory_at, rate_at
from training.sets import Sets
from training.settings import Range
from training.state import read_export, tensors_of


def test_the_rate_rises_then_falls():
    rates = [rate_at(i / 100, i, 1e-3, warm_up=11) for i in range(101)]
    assert rates[0] < 1e-4
    assert rates[:11] == sorted(rates[:11])
    assert 0.9e-3 < rates[10] < 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == rate_at(1.3, 130, 1e-3, 11) == pytest.approx(1e-5)


def test_the_average_forgets_the_start_and_then_remembers():
    assert memory_at(0, 0.999) == pytest.approx(0.1)
    assert memory_at(100, 0.999) < memory_at(1000, 0.999) < memory_at(10**6, 0.999) == 0.999


def test_a_batch_hangs_on_its_step_alone(settings):
    one, other = Batches(settings), Batches(settings)
    for step in (0, 5, 1):
        mine, theirs = one.at(step, 0.5), other.at(step, 0.5)
        assert all(torch.equal(*each) for each in zip(mine[:3], theirs[:3], strict=True))
        assert mine.window == theirs.window
    assert not torch.equal(one.at(0, 1.0).first, one.at(1, 1.0).first)


def test_full_size_frames_and_crops(settings):
    batches = Batches(settings)
    assert batches.at(0, 1.0).first.shape == (2, 3, 32, 48)
    assert batches.at(0, 0.0).first.shape == (8, 3, 16, 24)
    assert large_share(0) < large_share(1)


def test_positions_of_larger_frames_in_a_share_of_the_steps(settings):
    """Whole frames and crops alike; where they lie is even, as cells of two patches need, and inside."""
    own, larger = (8, 12), (12, 16)
    batches = Batches(replace(settings, virtual=0.4))
    seen = {"own": 0, "larger": 0}
    for step in range(60):
        batch = batches.at(step, 0.5)
        whole = batch.size == settings.size
        window = batch.window or Window(0, 0, own)
        assert batch.window or whole
        seen["larger" if window.grid == larger else "own"] += 1
        assert window.grid in (own, larger)
        assert window.top % 2 == window.left % 2 == 0
        for start, side, room in zip((window.top, window.left), batch.size, window.grid, strict=True):
            assert 0 <= start <= room - side // 4
    assert 12 < seen["larger"] < 36  # 24 of 60: the seed is fixed
    never = Batches(replace(settings, virtual=0.0))
    assert all(never.at(step, 1.0).window is None for step in range(5))


def test_a_set_is_the_same_drawn_ahead_or_when_asked_for(settings):
    """And one in use is not drawn over meanwhile."""
    settings = replace(settings, scenes=130)
    ahead, late = Sets(settings), Sets(settings)
    used = ahead.get(0)
    before = used.clone()
    for share in (0.2, 0.6, 0.9, 1.0):
        ahead.draw_ahead(1, share)
    assert torch.equal(used, before)
    assert torch.equal(ahead.get(1), late.get(1))
    assert not torch.equal(ahead.get(1), before)
    assert torch.equal(late.get(0), before)


def test_the_middle_stays_between_its_frames(settings):
    """Mirrored, cut and recoloured alike: where nothing moves the three are equal, where something does they differ."""
    settings = replace(settings, grain=Range(0.0, 0.0, 0.0))
    still = Batches(replace(settings, stills=1.0)).at(3, 0.0)
    assert torch.equal(still.first, still.middle)
    assert torch.equal(still.last, still.middle)
    moving = Batches(replace(settings, stills=0.0)).at(3, 1.0)
    assert not torch.equal(moving.first, moving.last)
    average = (moving.first + moving.last) / 2
    nearer = (average - moving.middle).abs().mean()
    assert nearer < (moving.first - moving.last).abs().mean()


def test_twenty_steps_lower_the_loss(settings, pair):
    stepper = Run(settings).stepper
    first, last, noise = pair
    batch = Batch(first, torch.maximum(first, last), last)  # not the average: there is something to learn
    losses = [stepper.step(batch, noise, rate, memory=0.9)[0].item() for rate in (3e-4, 6e-4, *18 * [1e-3])]
    assert losses[-1] < 0.8 * losses[0]


class Trained(NamedTuple):
    """A run after some of its steps, and what its last judgement found."""

    run: Run
    figures: Figures


@pytest.fixture(scope="module")
def whole(short_run, tmp_path_factory):
    """From its beginning to its end."""
    run = Run(short_run(tmp_path_factory.mktemp("whole")))
    return Trained(run, run.train())


@pytest.fixture(scope="module")
def begun(short_run, tmp_path_factory):
    """The step that has begun is finished: here, amid a set of scenes."""
    run = Run(short_run(tmp_path_factory.mktemp("begun")))
    return Trained(run, run.train(until=0))


@pytest.fixture
def copied(begun, tmp_path):
    """The settings of a run that has begun, in a folder of the test's own, where it may go on."""
    settings = begun.run.settings
    shutil.copytree(settings.folder, tmp_path / "copied")
    return replace(settings, folder=tmp_path / "copied")


def test_a_run_in_pieces_ends_as_one_in_one_piece(whole, copied):
    piece = Run(copied)
    piece.resume()
    assert piece.progress.step == 1
    piece.train()
    assert piece.progress.step == whole.run.progress.step > 2
    for network in ("network", "average"):
        one, other = tensors_of(getattr(whole.run, network)), tensors_of(getattr(piece, network))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_run_leaves(whole):
    run, figures = whole
    folder = run.settings.folder
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["psnr"] == figures
    assert any(line.get("loss", 0) > 0 and line["samples"] == run.progress.samples for line in lines)
    assert (folder / "curve.png").stat().st_size > 1000
    assert (folder / f"sheet-{run.progress.step:06d}.png").exists()
    card = (folder / "export" / "README.md").read_text()
    assert f"{figures['4-16 px']['eden']:.2f}" in card
    assert "$" not in card


def test_a_run_is_judged_at_equal_parts_of_it_however_long_they_take(settings):
    settings = replace(settings, plan_steps=9, judgements=3, report_seconds=1e9)
    Run(settings).train(until=0.1)
    for share in (1 / 3, 1):  # the first of these ends at a judgement, which the second does not repeat
        run = Run(settings)
        run.resume()
        run.train(until=share)
    lines = [json.loads(line) for line in (settings.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "psnr" in line] == [0, 1, 3, 6, 9]


def test_an_export_is_enough_to_go_on_from(begun, settings):
    first = begun.run
    exported = first.settings.folder / "export"
    later = Run(replace(settings, folder=settings.folder.with_name("later")))
    later.start_from(exported)
    assert asdict(later.progress) == {**asdict(first.progress), "optimiser_began": first.progress.step}
    mine, theirs = tensors_of(later.network), tensors_of(first.average)
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-6)
    later.train(until=0)
    assert later.progress.step == first.progress.step + 1

    with pytest.raises(ValueError, match="another configuration"):
        Run(replace(settings, config=replace(settings.config, dit_depth=3))).start_from(exported)


def test_a_diverged_run_keeps_its_last_state(copied):
    run = Run(copied)
    run.resume()
    (kept,) = copied.folder.glob("state-*.safetensors")
    before = kept.read_bytes()
    with torch.no_grad():
        run.network.decoder.proj_token.bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="loss nan"):
        run.train(until=0)
    assert [*copied.folder.glob("state-*.safetensors")] == [kept] and kept.read_bytes() == before


def test_two_processes_take_the_same_steps_on_triplets_of_their_own(settings, tmp_path):
    alone = Batches(settings).at(0, 1.0)
    together = replace(settings, batch=4, plan_steps=2, judgements=1)
    port = Ports.free().inference  # that no outgoing call can take until both have started
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.unit.training.drawn", __name__])
    multiprocessing.start_processes(one_of_two, (together, tmp_path, port), nprocs=2, start_method="forkserver")
    leader, follower = (torch.load(tmp_path / f"rank{number}.pt", weights_only=True) for number in range(2))
    assert leader["samples"] == follower["samples"] >= 8
    assert leader["stops"] == follower["stops"] == [False, True, False]
    assert all(torch.equal(leader["network"][name], follower["network"][name]) for name in leader["network"])
    assert torch.equal(leader["first"], alone.first)
    assert not torch.equal(follower["first"], alone.first)
    assert read_export(settings.folder / "export")[2].samples == leader["samples"]


def one_of_two(number, settings, folder, port):
    os.environ.update(RANK=str(number), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    ranks = Ranks.join("cpu")
    try:
        run = Run(settings, ranks)
        first = run.batches.at(0, 1.0).first
        # the leader alone would stop, at the first and the second; only the second is a step at which all are asked
        stops = [ranks.any(step, number == 0 and step <= 50) for step in (49, 50, 100)]
        run.train()
        kept = {"first": first, "stops": stops, "samples": run.progress.samples, "network": tensors_of(run.network)}
        torch.save(kept, folder / f"rank{number}.pt")
    finally:
        ranks.leave()


def test_a_batch_that_cannot_be_shared_is_refused(settings):
    with pytest.raises(ValueError, match="a batch of 2 cannot be shared by 3"):
        Batches(settings, Ranks(0, 3))
