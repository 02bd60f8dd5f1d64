"""One step: the same by fixed buffers as without, Muon's update, the loss, and what a run keeps of itself."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, replace

import pytest
import torch

from eden.grid_constants import grid_constants
from training.__main__ import main
from training.batches import Batch
from training.judging import blockiness
from training.loss import DEFAULT_LOSS, Loss, Weights, pyramid
from training.muon import Muon
from training.network import Window, seen_through
from training.optimising import Optimiser
from training.progress import Progress
from training.run import Diverged, Run, mean_of_taken
from training.state import read_export, read_state, write_state
from training.stepping import Stepper
from training.trials import TRIALS, run_trial

SHAPES = [(768, 256), (256, 256), (512, 256), (256, 512), (384, 256), (256, 384)]
"""Of the matrices in the demo network's blocks, and in those of one with narrower MLPs."""


def test_muon_takes_the_steps_that_pytorch_takes():
    generator = torch.Generator().manual_seed(1)

    def drawn(scale):
        return [scale * torch.randn(shape, generator=generator) for shape in SHAPES for _ in range(2)]

    start = drawn(0.1)
    ours, theirs = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    muon = Muon(((str(number), each) for number, each in enumerate(ours)), decay=0.5)
    reference = torch.optim.Muon(theirs, lr=2e-3, weight_decay=0.5, adjust_lr_fn="match_rms_adamw")
    for rate in (2e-3, 1e-3, 5e-4):
        before = [each.detach().clone() for each in theirs]
        for one, other, gradient in zip(ours, theirs, drawn(1e-3), strict=True):
            one.grad, other.grad = gradient, gradient.clone()
        muon.step(torch.tensor(rate), torch.zeros(()))
        reference.param_groups[0]["lr"] = rate
        reference.step()
        for one, other, was in zip(ours, theirs, before, strict=True):
            assert (one - other).norm() < 0.01 * (other - was).norm()
    assert {name for name, _ in muon.momenta()} == {str(number) for number in range(len(ours))}


def stepper_for(network):
    average = copy.deepcopy(network).requires_grad_(False)
    return Stepper(network, average, Optimiser(network, 0.1), Loss(DEFAULT_LOSS, network.config.patch_size))


def batches_of(pair, count=3):
    """Batches of one size that differ in everything, with the noise for each."""
    first, last, noise = pair
    whole = (16, 24)
    for number in range(count):
        turned = [each.roll(number, dims=-1) for each in (first, torch.maximum(first, last), last)]
        window = Window(2 * number, 4, whole) if number else None
        yield Batch(*turned, window), noise + number


def test_steps_read_nothing_but_their_buffers(network, pair):
    """A graph replays a step: it must find there all that the step depends on, at the addresses of the first."""
    straight = stepper_for(copy.deepcopy(network))
    replayed = stepper_for(network)
    addresses = set()
    recorded = None
    for number, (batch, noise) in enumerate(batches_of(pair)):
        rate, memory = 1e-3 / (number + 1), 0.5 + 0.1 * number
        # with buffers of its own for each step
        anew = Stepper(straight.network, straight.average, straight.optimiser, straight.loss)
        expected = anew.step(batch, noise, rate, memory)
        filled = replayed.fill(batch, noise, rate, memory)
        recorded = recorded or filled  # as a graph does: what was there at the first step, computed again
        assert torch.equal(replayed._compute(recorded), expected)
        assert replayed.optimiser.rate.item() == pytest.approx(rate)
        addresses.add(tuple(tensor.data_ptr() for tensor in vars(recorded.inputs).values()))
    assert len(addresses) == 1
    for name in ("network", "average"):
        pairs = zip(getattr(straight, name).parameters(), getattr(replayed, name).parameters(), strict=True)
        assert all(torch.equal(*each) for each in pairs)


def test_a_window_reaches_the_network_as_positions(network, pair):
    first, last, noise = pair
    stepper = stepper_for(network)
    batch = Batch(first, first, last, Window(4, 6, (16, 24)))
    recorded = stepper.fill(batch, noise, 1e-3, 0.9)
    constants = grid_constants((8, 12), network.config.hidden_dim, torch.device("cpu"), torch.float32)
    expected = network(first, last, noise, seen_through(batch.window, constants))
    assert torch.equal(network(first, last, noise, recorded.constants), expected)
    assert not torch.equal(network(first, last, noise), expected)


def test_the_average_keeps_as_much_of_itself_as_told(network, pair):
    first, last, noise = pair
    stepper = stepper_for(network)
    before = [each.clone() for each in stepper.average.parameters()]
    stepper.step(Batch(first, last, last), noise, 1e-3, 0.75)
    for was, now, trained in zip(before, stepper.average.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * was + 0.25 * trained)


def test_a_step_whose_loss_is_no_number_changes_nothing(network, pair):
    first, last, noise = pair
    stepper = stepper_for(network)
    stepper.step(Batch(first, last, last), noise, 1e-3, 0.75)

    def known():
        return [*network.parameters(), *stepper.optimiser.tensors().values()]

    before = [each.detach().clone() for each in known()]
    loss, norm = stepper.step(Batch(first, last * float("nan"), last), noise, 1e-3, 0.75).tolist()
    assert math.isnan(loss) and math.isnan(norm)
    assert all(torch.equal(was, now) for was, now in zip(before, known(), strict=True))
    assert stepper.step(Batch(first, last, last), noise, 1e-3, 0.75).isfinite().all()
    assert not all(torch.equal(was, now) for was, now in zip(before, known(), strict=True))


def test_one_step_in_many_may_be_skipped_and_not_more(capsys):
    nan = float("nan")
    assert mean_of_taken([[1.0, 2.0]] * 99 + [[nan, nan]], since=200) == (1.0, 2.0)
    assert "step 299 was skipped" in capsys.readouterr().out
    with pytest.raises(Diverged, match="3 of 100 steps, the first one 207: loss nan"):
        mean_of_taken([[1.0, 2.0]] * 7 + [[nan, nan]] * 3 + [[1.0, 2.0]] * 90, since=200)


def frame_with(column):
    """Black, and a step to grey at a column."""
    frame = torch.zeros(1, 3, 16, 32)
    frame[..., column:] = 0.5
    return frame


def test_an_edge_between_patches_counts_more_than_one_within():
    weights = Weights(gradient=1.0, seam=4.0, pyramid=0.0)
    loss, plain = Loss(weights, patch_size=8), Loss(replace(weights, seam=1.0), patch_size=8)
    black = torch.zeros(1, 3, 16, 32)
    heavier = [(loss(frame_with(at), black) - plain(frame_with(at), black)).item() for at in (7, 8, 9)]
    soft = 1e-3  # what an error of nothing counts
    still = (loss(black, black) - plain(black, black)).item()
    assert heavier[0] == pytest.approx(still, rel=1e-3) == pytest.approx(heavier[2], rel=1e-3)
    assert heavier[1] - still == pytest.approx(3 * (0.5 - soft) / 31, rel=0.01)
    for turned in (8, 7):
        one, other = frame_with(turned)[..., :16], frame_with(turned)[..., :16].mT
        assert loss(one, black[..., :16]).item() == pytest.approx(loss(other, black[..., :16]).item(), rel=1e-5)


def test_triplets_count_by_the_logarithm_of_their_error():
    black = torch.zeros(2, 3, 16, 32)
    made = torch.cat([frame_with(0) * 0.02, frame_with(5)])
    loss = Loss(DEFAULT_LOSS, patch_size=8)
    easy, hard = (loss(made[each : each + 1], black[:1]).item() for each in (0, 1))
    assert easy < 0.1 * hard
    assert loss(made, black).item() == pytest.approx(math.sqrt(easy * hard), rel=1e-5)
    arithmetic = Loss(replace(DEFAULT_LOSS, geometric=False), patch_size=8)
    assert arithmetic(made, black).item() == pytest.approx((easy + hard) / 2, rel=1e-5)


def test_a_pyramid_is_a_picture_in_bands():
    generator = torch.Generator().manual_seed(4)
    picture = torch.rand(2, 3, 32, 48, generator=generator)
    bands = pyramid(picture, 4)
    assert [band.shape[-1] for band in bands] == [48, 24, 12, 6]
    rebuilt = bands[-1]
    for band in reversed(bands[:-1]):
        rebuilt = band + torch.nn.functional.interpolate(rebuilt, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rebuilt, picture)
    flat = pyramid(torch.full((1, 3, 32, 48), 0.3), 4)
    assert all(band.abs().max() < 1e-6 for band in flat[:-1]) and flat[-1].min() > 0.29
    assert len(pyramid(torch.zeros(1, 3, 12, 12), 5)) == 3  # 12, 6, 3


def test_what_is_wrong_all_over_counts_more_by_the_pyramid():
    """A shift of brightness and a fine pattern as large are alike to pixels, not to coarse bands."""
    black = torch.zeros(1, 3, 32, 32)
    pattern = 0.1 * (-1.0) ** (torch.arange(32)[:, None] + torch.arange(32))
    pixels, both = Loss(Weights(0.0, 1.0, 0.0), 8), Loss(Weights(0.0, 1.0, 1.0), 8)
    flat, fine = black + 0.1, black + pattern
    assert pixels(flat, black).item() == pytest.approx(pixels(fine, black).item(), rel=1e-5)
    assert both(flat, black) > pixels(flat, black) and both(fine, black) > pixels(fine, black)


def test_blocks_show_in_blockiness():
    generator = torch.Generator().manual_seed(6)
    noise = torch.rand(2, 3, 32, 48, generator=generator)
    assert blockiness(noise, 8) == pytest.approx(1, abs=0.1)
    blocks = torch.rand(2, 3, 4, 6, generator=generator).repeat_interleave(8, -1).repeat_interleave(8, -2)
    assert blockiness(0.8 * blocks + 0.2 * noise, 8) > 3
    assert blockiness(0.8 * blocks.roll((3, 3), (-2, -1)) + 0.2 * noise, 8) < 1


@pytest.fixture
def tensors(network):
    optimiser = Optimiser(network, 0.1)
    for number, tensor in enumerate(optimiser.tensors().values()):
        tensor.fill_(1e-9 * number)
    weights = {f"network/{name}": each for name, each in network.named_parameters()}
    return {
        **weights,
        **{f"average/{name}": 1.5 * each for name, each in network.named_parameters()},
    } | optimiser.tensors()


PLACE = Progress(step=70_123, samples=9, seconds=1.5)


def test_a_state_comes_back_as_it_was(tensors, tmp_path, monkeypatch):
    monkeypatch.setattr("training.state.PART", 400_000)
    files = write_state(tmp_path, tensors, PLACE)
    assert len(files) > 3 and all(file.stat().st_size < 430_000 for file in files)
    back, progress = read_state(tmp_path)
    assert asdict(progress) == asdict(PLACE) and back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_half_a_state_is_half_as_large_and_near(tensors, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = write_state(tmp_path / "whole", tensors, PLACE)
    half = write_state(tmp_path, tensors, PLACE, half=True)
    size, halved = (sum(file.stat().st_size for file in files) for files in (whole, half))
    assert 0.45 * size < halved < 0.55 * size
    back, _ = read_state(tmp_path)
    for name, tensor in tensors.items():
        kind = name.partition("/")[0]
        near = 2**-11 if kind in ("network", "average") else 2**-8
        torch.testing.assert_close(back[name].float(), tensor, rtol=near, atol=3e-8 if near == 2**-11 else 0)


def test_a_state_that_is_not_whole_is_not_the_latest(tensors, tmp_path, monkeypatch):
    monkeypatch.setattr("training.state.PART", 400_000)
    with pytest.raises(FileNotFoundError, match="no complete state"):
        read_state(tmp_path)
    kept = write_state(tmp_path, tensors, PLACE)
    copies = {file.name: file.read_bytes() for file in kept}
    later = write_state(tmp_path, tensors, replace(PLACE, step=70_200))
    assert sorted(tmp_path.iterdir()) == sorted(later)
    later[1].unlink()
    with pytest.raises(FileNotFoundError, match="no complete state"):
        read_state(tmp_path)
    for name, data in copies.items():
        (tmp_path / name).write_bytes(data)
    assert read_state(tmp_path)[1].step == PLACE.step
    kept[0].write_bytes(b"nothing")
    with pytest.raises(ValueError, match=kept[0].name):
        read_state(tmp_path)


def test_a_piece_ends_at_its_deadline_and_the_next_goes_on(settings):
    piece = Run(replace(settings, half_state=True))
    piece.train(deadline=time.monotonic() - 1)
    assert piece.progress.step == 1
    later = Run(replace(settings, half_state=True))
    later.resume()
    assert later.progress.step == 1
    state, back = piece._state(), later._state()
    for name, tensor in state.items():
        torch.testing.assert_close(back[name], tensor, rtol=2**-8, atol=1e-7)
    later.train(deadline=time.monotonic() + 600)
    assert later.progress.step == settings.plan_steps


def test_another_runs_state_is_refused(settings):
    Run(settings).train(until=0)
    wider = replace(settings, config=replace(settings.config, mlp_ratio=1.5))
    with pytest.raises(ValueError, match="another configuration"):
        Run(wider).resume()
    deeper = replace(settings, config=replace(settings.config, decoder_depth=3))
    with pytest.raises(ValueError, match="another configuration"):
        Run(deeper).resume()


@pytest.mark.parametrize("name", ["loss-arithmetic", "network-2-7"])
def test_a_trial_leaves_its_figures_and_its_weights(settings, name):
    short = replace(settings, folder=settings.folder.with_name("trials"), plan_steps=2, judgements=1)
    told = run_trial(name, short)
    assert json.loads((short.folder / f"{name}.json").read_text()) == told
    assert told["steps"] == 2 and told["held_out"]["16-32 px"]["blockiness"] > 0
    config, _, progress = read_export(short.folder / name / "export")
    assert progress.step == 2 and config.decoder_depth == (7 if "network" in name else settings.config.decoder_depth)
    cut = run_trial(name, replace(short, folder=short.folder / "cut"), deadline=time.monotonic() - 1)
    assert cut["steps"] == 1 and cut["planned_steps"] == 2


def test_every_trial_changes_what_its_name_says(settings):
    changed = {name: change(settings) for name, change in TRIALS.items()}
    assert changed.pop("all-as-it-is") == settings
    assert all(each != settings for each in changed.values())
    assert len({repr(each) for each in changed.values()}) == len(changed)


def test_a_step_is_timed_by_its_parts(tmp_path, capsys):
    small = ["--size", "64x64", "--depths", "1", "1", "--batch", "1", "--scenes", "2", "--uses", "1"]
    assert main(["--device", "cpu", "--measure-steps", "1", *small]) == 0
    figures = json.loads(capsys.readouterr().out)
    for kind in ("whole frames", "crops"):
        parts = figures["eager"][kind]
        assert parts.keys() == {"step", "data", "forward_backward", "optimiser"} and min(parts.values()) > 0
    assert figures["as trained"] > 0 and figures["set"]["draw_ms"] > 0
    with pytest.raises(SystemExit):
        main(["--measure-steps", "0"])
    assert "at least one" in capsys.readouterr().err
