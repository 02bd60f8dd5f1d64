"""The wire format is safetensors, and whatever is not what the ticket says is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from eden import EncoderOutput
from handoff.errors import HandoffError, TicketRejected
from handoff.payload.layout import FRAME_BY_FRAME, Entry, Layout, parse_layout
from handoff.payload.wire import check_header, read, write


def clip(length: int = 3, tokens: int = 7, width: int = 5, dtype: torch.dtype = torch.float32) -> EncoderOutput:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape)

    return EncoderOutput(
        draw(length, tokens, width).to(dtype),
        draw(length, tokens, width).to(dtype),
        draw(length),
        draw(length),
        draw(length - 1),
        (7, 1),
        (100, 16),
        torch.randint(0, 256, (length, 3, 4, 5), dtype=torch.uint8),
    )


@pytest.mark.parametrize("wire", [None, "fp32", "bf16", "fp16"])
def test_the_safetensors_library_reads_what_is_written(wire: str | None) -> None:
    output = clip()
    layout = Layout.of(output, wire)
    payload = torch.zeros(layout.nbytes, dtype=torch.uint8)
    write(output, layout, payload)
    theirs = safetensors.torch.load(payload.numpy().tobytes())
    ours = read(payload, layout).tensors()
    assert set(theirs) == set(ours) == set(output.tensors())
    for name, tensor in output.tensors().items():
        dtype = layout.entries[[entry.name for entry in layout.entries].index(name)].dtype
        assert torch.equal(theirs[name], tensor.to(dtype))
        assert torch.equal(ours[name], tensor.to(dtype))


def test_tokens_have_the_type_that_the_wire_is_set_to_and_all_else_its_own() -> None:
    layout = Layout.of(clip(), "bf16")
    assert {entry.name: entry.dtype for entry in layout.entries} == {
        "cond_dit": torch.bfloat16,
        "cond_dec": torch.bfloat16,
        "stats_mean": torch.float32,
        "stats_std": torch.float32,
        "difference": torch.float32,
        "frames": torch.uint8,
    }


def test_values_that_follow_an_odd_number_of_bytes_arrive() -> None:
    output = replace(clip(1, 1, 1, torch.float16), cond_dec=torch.zeros(1, 0, 1, dtype=torch.float16))
    layout = Layout.of(output, None)
    assert layout.entries[2].start % 4  # the float32 statistics are not aligned
    payload = torch.zeros(layout.nbytes, dtype=torch.uint8)
    write(output, layout, payload)
    for name, tensor in read(payload, layout).tensors().items():
        assert torch.equal(tensor, output.tensors()[name])


def test_tensors_begin_aligned_and_are_views() -> None:
    layout = Layout.of(clip(), None)
    payload = torch.zeros(layout.nbytes, dtype=torch.uint8)
    assert layout.entries[0].start % 256 == 0
    assert read(payload, layout).cond_dit.untyped_storage().data_ptr() == payload.data_ptr()


@pytest.mark.parametrize("largest", [1, 7, 64, 1 << 20])
def test_pieces_are_all_bytes_once_and_frames_are_complete_as_early_as_may_be(largest: int) -> None:
    layout = Layout.of(clip(), None)
    pieces = layout.pieces(largest)
    assert sorted(byte for piece in pieces for byte in range(piece.start, piece.stop)) == list(range(layout.nbytes))
    of_frames = [entry for entry in layout.entries if entry.name in FRAME_BY_FRAME]
    assert all(
        piece.stop - piece.start <= largest
        for piece in pieces
        if any(entry.start <= piece.start < entry.stop for entry in of_frames)
    )
    arrived: set[int] = set()
    for piece in pieces:
        arrived.update(range(piece.start, piece.stop))
        whole = [all(_rows(entry, frame) <= arrived for entry in of_frames) for frame in range(layout.length)]
        assert piece.frames == sum(whole) and whole[: piece.frames] == [True] * piece.frames
        if piece.frames:
            assert set(range(layout.nbytes)) - arrived <= {byte for e in of_frames for byte in range(e.start, e.stop)}


def _rows(entry: Entry, frame: int) -> set[int]:
    """The bytes of one frame in a tensor."""
    size = (entry.stop - entry.start) // entry.shape[0]
    return set(range(entry.start + frame * size, entry.start + (frame + 1) * size))


@pytest.mark.parametrize("place", [0, 8, 40])
def test_a_header_that_differs_in_one_byte_is_refused(place: int) -> None:
    layout = Layout.of(clip(), None)
    payload = torch.zeros(layout.nbytes, dtype=torch.uint8)
    write(clip(), layout, payload)
    check_header(payload, layout)
    payload[place] ^= 1
    with pytest.raises(HandoffError, match="not what its ticket says"):
        check_header(payload, layout)


def test_a_payload_cut_short_is_refused() -> None:
    layout = Layout.of(clip(), None)
    payload = torch.zeros(layout.nbytes, dtype=torch.uint8)
    write(clip(), layout, payload)
    with pytest.raises(HandoffError):
        check_header(payload[:-1], layout)


@pytest.mark.parametrize(
    "damage",
    [
        {"tensors": [["cond_dit", "F32", [2, 3, 4]]]},
        {"tensors": [["weights", "F32", [2]]]},
        {"tensors": "F32"},
        {"grid": [1]},
        {"size": None},
    ],
)
def test_a_layout_that_no_encoder_makes_is_refused(damage: dict[str, object]) -> None:
    data = {**json.loads(Layout.of(clip(), None).text), **damage}
    with pytest.raises(TicketRejected):
        parse_layout(json.dumps(data))


def test_layouts_survive_json() -> None:
    layout = Layout.of(clip(), "bf16")
    assert parse_layout(layout.text) == layout
    assert (layout.length, layout.grid, layout.size) == (3, (7, 1), (100, 16))


def test_a_dtype_without_a_place_on_the_wire_is_named() -> None:
    with pytest.raises(HandoffError, match=r"cond_dit is torch\.float64"):
        Layout.of(replace(clip(), cond_dit=clip().cond_dit.double()), None)
