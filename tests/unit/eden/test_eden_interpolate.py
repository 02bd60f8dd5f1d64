"""What the public contracts promise of clips, batches, sizes, seeds and types."""

from itertools import chain

import pytest
import torch

from eden import DitDecoder, Encoder, padded_grid
from eden.batch import Span, bucket, passes
from eden.pass_size import PassSize

WITHIN = {"rtol": 0, "atol": 1e-5}


def test_swapping_the_two_frames_changes_nothing(case):
    encoder, decoder = Encoder.load(case.checkpoint), DitDecoder.load(case.checkpoint)
    forth = decoder.interpolate(encoder.encode_clips(case.clips), noise=case.noise)
    back = decoder.interpolate(encoder.encode_clips([clip.flip(0) for clip in case.clips]), noise=case.noise)
    for one, other in zip(forth, back, strict=True):
        torch.testing.assert_close(one, other, **WITHIN)


def test_a_pair_in_a_batch_of_eight_is_the_pair_alone(tiny, clip):
    encoder, decoder = tiny
    clips = [clip(2, 48, 80, seed) for seed in range(8)]
    together = decoder.interpolate(encoder.encode_clips(clips), seeds=range(8))
    for seed, frames in enumerate(together):
        alone = decoder.interpolate([encoder.encode(clips[seed])], seeds=[seed])[0]
        torch.testing.assert_close(frames, alone, **WITHIN)
    assert (together[0] - together[1]).abs().max() > 0.05


def test_a_clip_is_its_pairs(tiny, clip):
    encoder, decoder = tiny
    frames = clip(5, 40, 64)
    whole = decoder.interpolate([encoder.encode(frames)], seeds=[7])[0]
    assert whole.shape == (4, 3, 40, 64)
    for i in range(4):
        pair = decoder.interpolate([encoder.encode(frames[i : i + 2])], seeds=[7])[0]
        torch.testing.assert_close(whole[i : i + 1], pair, **WITHIN)


def test_clips_of_one_grid_mix_lengths_and_sizes(tiny, clip):
    encoder, decoder = tiny
    clips = [clip(2, 33, 40, 1), clip(4, 64, 64, 2), clip(3, 50, 61, 3)]
    outputs = encoder.encode_clips(clips)
    together = decoder.interpolate(outputs, seeds=[1, 2, 3])
    assert [frames.shape for frames in together] == [(1, 3, 33, 40), (3, 3, 64, 64), (2, 3, 50, 61)]
    for i, frames in enumerate(together):
        torch.testing.assert_close(frames, decoder.interpolate([encoder.encode(clips[i])], seeds=[i + 1])[0], **WITHIN)


def test_a_batch_larger_than_a_pass_is_split(tiny, clip, monkeypatch):
    encoder, decoder = tiny
    outputs = encoder.encode_clips([clip(4, 32, 32, 1), clip(3, 32, 32, 2)])
    whole = decoder.interpolate(outputs, seeds=[1, 2])
    monkeypatch.setattr(decoder.engine, "pass_size", PassSize(2 * 4, "decoder"))
    for one, other in zip(whole, decoder.interpolate(outputs, seeds=[1, 2]), strict=True):
        torch.testing.assert_close(one, other, **WITHIN)


def test_passes_hold_every_pair_once():
    clips = [Span(0, 0, 3), Span(1, 0, 1), Span(2, 0, 5)]
    cut = [[(0, 0, 2)], [(0, 2, 3), (1, 0, 1)], [(2, 0, 2)], [(2, 2, 4)], [(2, 4, 5)]]
    assert passes(clips, limit=2) == cut
    pieces = list(chain.from_iterable(cut))
    assert passes((Span(*piece) for piece in pieces), limit=100) == [pieces]
    assert passes([], limit=4) == []


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [((1, 2), (1, 2)), ((5, 6), (6, 7)), ((5, 8), (6, 12)), ((8, 16), (8, 16)), ((129, 140), (129, 258))],
)
def test_graphs_come_in_few_kinds(wanted, kind):
    assert bucket(*wanted) == kind


@pytest.mark.parametrize("size", [(16, 16), (16, 97), (33, 40), (65, 31), (100, 18)])
def test_frames_of_any_size(tiny, clip, size):
    encoder, decoder = tiny
    output = encoder.encode(clip(2, *size))
    assert output.size == size
    assert output.grid == padded_grid(*size, 16)
    frames = decoder.interpolate([output])[0]
    assert frames.shape == (1, 3, *size)
    assert frames.dtype == torch.float32
    assert 0 <= frames.min() < frames.max() <= 1


@pytest.mark.parametrize(("size", "grid"), [((16, 16), (2, 2)), ((256, 448), (16, 28)), ((1080, 1920), (68, 120))])
def test_grids(size, grid):
    assert padded_grid(*size, 16) == grid


def test_padding_is_where_the_published_network_puts_it(tiny, clip):
    # what padding adds is edge pixels: a frame that already has them, in the right places, has the same tokens
    encoder, _ = tiny
    frames = clip(2, 33, 40)
    padded = torch.nn.functional.pad(frames.float(), (12, 12, 15, 16), mode="replicate").to(torch.uint8)
    torch.testing.assert_close(encoder.encode(frames).cond_dit, encoder.encode(padded).cond_dit, **WITHIN)


def test_the_seed_decides(tiny, clip):
    encoder, decoder = tiny
    output = encoder.encode(clip(3, 32, 48))
    first, again, other = (decoder.interpolate([output], seeds=[seed])[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(decoder.interpolate([output])[0], decoder.interpolate([output], seeds=[0])[0])


def test_all_pairs_of_a_clip_share_their_noise(tiny, clip):
    encoder, decoder = tiny
    pair = clip(2, 32, 32)
    frames = decoder.interpolate([encoder.encode(torch.cat([pair, pair]))], seeds=[5])[0]
    torch.testing.assert_close(frames[0], frames[2], **WITHIN)


def test_uint8_and_float_frames_are_the_same(tiny, clip):
    encoder, _ = tiny
    frames = clip(2, 32, 32)
    for name, tensor in encoder.encode(frames).tensors().items():
        torch.testing.assert_close(tensor, encoder.encode(frames / 255).tensors()[name], **WITHIN)


def test_uint8_answers_are_the_rounded_float_ones(tiny, clip):
    encoder, decoder = tiny
    outputs = encoder.encode_clips([clip(3, 40, 50, 1), clip(2, 64, 64, 2)])
    exact = decoder.interpolate(outputs, seeds=[1, 2])
    for frames, rounded in zip(exact, decoder.interpolate(outputs, seeds=[1, 2], as_uint8=True), strict=True):
        assert rounded.dtype == torch.uint8
        assert torch.equal(rounded, (frames * 255).round().to(torch.uint8))


def test_what_was_begun_is_there_once_it_is_finished(tiny, clip):
    encoder, decoder = tiny
    outputs = [encoder.encode(clip(3, 40, 50, 1)), encoder.encode(clip(2, 64, 64, 2))]
    begun = [decoder.begin([output], as_uint8=True)[0] for output in outputs]
    decoder.finish()
    for output, frames in zip(outputs, begun, strict=True):
        assert torch.equal(frames, decoder.interpolate([output], as_uint8=True)[0])


def test_bf16_is_near_fp32(case):
    encoder, decoder = (half.load(case.checkpoint, precision="bf16") for half in (Encoder, DitDecoder))
    outputs = encoder.encode_clips(case.clips)
    assert outputs[0].cond_dit.dtype == torch.bfloat16
    assert outputs[0].stats_mean.dtype == outputs[0].difference.dtype == torch.float32
    error = torch.cat(decoder.interpolate(outputs, noise=case.noise)) - case["frame"]
    assert -10 * error.square().mean().log10() >= 45


def test_two_grids_in_one_call_are_refused_by_name(tiny, clip):
    encoder, decoder = tiny
    small, large = clip(2, 32, 32), clip(2, 64, 96)
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(4, 6\)"):
        encoder.encode_clips([small, large])
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(4, 6\)"):
        decoder.interpolate([encoder.encode(small), encoder.encode(large)])


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        (torch.zeros(1, 3, 32, 32), ValueError, "at least 2 frames, not 1"),
        (torch.zeros(2, 3, 15, 32), ValueError, "15x32 is too small"),
        (torch.zeros(2, 4, 32, 32), ValueError, r"\[2, 4, 32, 32\]"),
        (torch.zeros(3, 32, 32), ValueError, r"\[3, 32, 32\]"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.int32), TypeError, "int32"),
    ],
)
def test_frames_that_are_none(tiny, frames, error, words):
    with pytest.raises(error, match=words):
        tiny[0].encode(frames)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "7"])
def test_bad_seeds(tiny, clip, seed):
    with pytest.raises(ValueError, match="a seed must be a whole number"):
        tiny[1].interpolate([tiny[0].encode(clip(2, 32, 32))], seeds=[seed])


def test_noise_and_seeds_that_do_not_fit(tiny, clip):
    encoder, decoder = tiny
    output = encoder.encode(clip(3, 32, 32))
    with pytest.raises(ValueError, match="2 seeds for 1 clips"):
        decoder.interpolate([output], seeds=[1, 2])
    with pytest.raises(ValueError, match=r"these clips need \[\(2, 1, 16\)\]"):
        decoder.interpolate([output], noise=[torch.zeros(1, 1, 16)])
    with pytest.raises(ValueError, match="not both"):
        decoder.interpolate([output], seeds=[1], noise=[torch.zeros(2, 1, 16)])


def test_nothing_in_nothing_out(tiny):
    assert tiny[0].encode_clips([]) == tiny[1].interpolate([]) == []


@pytest.mark.parametrize("half", [Encoder, DitDecoder])
def test_unknown_precision(half, tmp_path):
    with pytest.raises(ValueError, match="unknown precision 'fp8'"):
        half.load(tmp_path, precision="fp8")


def test_many_frames_are_encoded_a_few_at_a_time(tiny, clip, monkeypatch):
    encoder, _ = tiny
    clips = [clip(4, 32, 32, 1), clip(2, 30, 32, 2), clip(3, 32, 32, 3)]
    whole = encoder.encode_clips(clips)
    monkeypatch.setattr(encoder, "pass_size", PassSize(2 * 4, "encoder"))
    for one, other in zip(whole, encoder.encode_clips(clips), strict=True):
        assert one.size == other.size
        for name, tensor in one.tensors().items():
            torch.testing.assert_close(tensor, other.tensors()[name], **WITHIN)
