"""The real network where memory is short: what is too large for it fails inside the network, as on a full card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from eden import DitDecoder, Encoder
from eden.pass_size import PASSES, PassSize

PARITY = Path(__file__).parents[2] / "data" / "parity"
TOKENS = 4
"""Of a frame of 32x32."""
FULL = 16
"""Pairs, or frames, of a full pass of these tests."""


@dataclass
class Card:
    """Memory for passes of so many pairs or frames; `tried` are those of every pass so far."""

    room: int = FULL
    tried: list[int] = field(default_factory=list)

    def limit(self, network: nn.Module) -> None:
        """Have the network fail beyond that. Its first argument is [pairs or frames, ...]."""

        def allocate(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            self.tried.append(len(arguments[0]))
            if self.tried[-1] > self.room:
                raise torch.OutOfMemoryError(f"no room for {self.tried[-1]}")

        network.register_forward_pre_hook(allocate)


def a_decoder(full: int = FULL) -> DitDecoder:
    decoder = DitDecoder.load(PARITY / "tiny")
    decoder.engine.pass_size = PassSize(full * TOKENS, "decoder")
    return decoder


def an_encoder(full: int = FULL) -> Encoder:
    encoder = Encoder.load(PARITY / "tiny")
    encoder.pass_size = PassSize(full * TOKENS, "encoder")
    return encoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hundreds of tiny passes: beside other work, threads that wait for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def card() -> Card:
    return Card()


@pytest.fixture
def decoder(card: Card) -> DitDecoder:
    """A full pass is FULL pairs of 32x32; the card has room for them."""
    made = a_decoder()
    card.limit(made.engine.decoder)
    return made


@pytest.fixture
def encoder(card: Card) -> Encoder:
    """A full pass is FULL frames of 32x32; the card has room for them."""
    made = an_encoder()
    card.limit(made.network)
    return made


@pytest.fixture
def outputs(tiny, clip):
    """Two clips of FULL pairs together."""
    return tiny[0].encode_clips([clip(8, 32, 32, 1), clip(FULL - 6, 32, 32, 2)])


def draw(decoder: DitDecoder, outputs) -> torch.Tensor:
    return torch.cat(decoder.interpolate(outputs, seeds=[1, 2]))


def encode(encoder: Encoder, clips) -> torch.Tensor:
    return torch.cat(
        [tensor.flatten() for output in encoder.encode_clips(clips) for tensor in output.tensors().values()]
    )


def times_until(reached: Callable[[], bool], step: Callable[[], object], at_most: int = 1000) -> int:
    """How many steps it takes."""
    for times in range(at_most):
        if reached():
            return times
        step()
    raise AssertionError(f"not reached in {at_most} steps")


@pytest.mark.slow
def test_frames_are_those_of_passes_as_small_and_then_of_full_ones(decoder, card, outputs):
    undisturbed = draw(a_decoder(), outputs)
    card.room = 6
    short = draw(decoder, outputs)
    assert card.tried == [16, 8, 4, 4, 4, 4]
    assert torch.equal(short, draw(a_decoder(4), outputs))
    torch.testing.assert_close(short, undisturbed, rtol=0, atol=1e-5)
    assert (decoder.engine.out_of_memory, decoder.engine.pairs_per_pass((2, 2))) == (2, 4)
    card.room = FULL
    calls = times_until(lambda: decoder.engine.pairs_per_pass((2, 2)) == FULL, lambda: draw(decoder, outputs))
    # 4 a call at 4 pairs, 2 a call at 8
    assert calls == PASSES / 4 + PASSES / 2 - 1
    card.tried.clear()
    assert torch.equal(draw(decoder, outputs), undisturbed)
    assert card.tried == [FULL]
    assert decoder.engine.out_of_memory == 2


def test_tokens_are_those_of_passes_as_small_and_then_of_full_ones(encoder, card, clip):
    clips = [clip(10, 32, 32, 1), clip(6, 30, 32, 2), clip(6, 32, 32, 3)]  # two sizes: 16 frames and 6
    undisturbed = encode(an_encoder(), clips)
    card.room = 6
    short = encode(encoder, clips)
    assert card.tried == [16, 8, 4, 4, 4, 4, 4, 2]
    assert torch.equal(short, encode(an_encoder(4), clips))
    torch.testing.assert_close(short, undisturbed, rtol=0, atol=1e-5)
    assert encoder.out_of_memory == 2
    card.room = FULL
    times_until(lambda: encoder.pass_size.limit == encoder.pass_size.full, lambda: encode(encoder, clips))
    card.tried.clear()
    assert torch.equal(encode(encoder, clips), undisturbed)
    assert card.tried == [16, 6]
    assert encoder.out_of_memory == 2


def test_a_tiny_pair_that_lacks_memory_leaves_larger_ones_several_a_pass(decoder, card, tiny, clip):
    decoder.engine.pass_size = PassSize(42 * 24, "decoder")  # 42 pairs of 64x96
    card.room = 0
    with pytest.raises(torch.OutOfMemoryError, match="no room for 1"):
        decoder.interpolate([tiny[0].encode(clip(2, 32, 32))])
    card.room = 42
    card.tried.clear()
    decoder.interpolate([tiny[0].encode(clip(6, 64, 96))])
    assert card.tried == [2, 2, 1]


def test_where_even_the_least_limit_is_too_much_it_goes_down_to_single_pairs(decoder, encoder, card, outputs, clip):
    decoder.engine.pass_size = PassSize(64 * FULL * TOKENS, "decoder")  # the least is 64 pairs
    encoder.pass_size = PassSize(64 * FULL * TOKENS, "encoder")
    clips = [clip(9, 32, 32)]
    card.room = 1
    draw(decoder, outputs)
    assert card.tried == [16, 8, 4, 2] + 16 * [1]
    card.tried.clear()
    encoded = encode(encoder, clips)
    assert card.tried == [9, 4, 2] + 9 * [1]
    assert torch.equal(encoded, encode(an_encoder(1), clips))
    card.room = 0
    for call in (lambda: draw(decoder, outputs), lambda: encode(encoder, clips)):
        with pytest.raises(torch.OutOfMemoryError, match="no room for 1"):
            call()


def test_what_is_wrong_otherwise_is_no_shortage(decoder, encoder, outputs, clip):
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    decoder.engine.decoder.register_forward_pre_hook(fail)
    encoder.network.register_forward_pre_hook(fail)
    for call in (lambda: draw(decoder, outputs), lambda: encode(encoder, [clip(9, 32, 32)])):
        with pytest.raises(RuntimeError, match="device-side assert"):
            call()
    assert decoder.engine.out_of_memory == encoder.out_of_memory == 0
    assert decoder.engine.pairs_per_pass((2, 2)) == FULL
