"""On a GPU: the same results, in every precision, by graphs and kernels that the CPU does not have."""

import gc
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eden import DitDecoder, EdenConfig, Encoder, fused
from eden.decoder import Decoder
from eden.dit import Dit
from eden.patch_tokens import PatchTokens
from eden.random_weights import random_tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

PARITY = Path(__file__).parents[1] / "data" / "parity"
CASES = sorted(PARITY.glob("*/case_*.safetensors"))
GPU = torch.device("cuda")
AT_LEAST = {"tf32": 60, "bf16": 45}

cases = pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
precisions = pytest.mark.parametrize("precision", AT_LEAST)


def halves(folder, precision="fp32"):
    return Encoder.load(folder, GPU, precision), DitDecoder.load(folder, GPU, precision)


def psnr(frames, wanted):
    return -10 * (frames.float() - wanted.float()).square().mean().log10().item()


def a_clip(frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(frames, 3, height // 16 + 1, width // 16 + 1, generator=generator)
    coarse = 0.8 * coarse[:1] + 0.2 * coarse
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return (smooth * 255).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def published():
    """published(precision): both halves of the published size, with the same random values."""
    config, tensors = EdenConfig(), random_tensors(EdenConfig())

    def make(precision):
        networks = PatchTokens(config), Dit(config), Decoder(config)
        for network in networks:
            network.load_state_dict({name: tensors[name] for name in network.state_dict()})
        tokens, *rest = networks
        return Encoder(config, tokens, GPU, precision), DitDecoder(config, *rest, GPU, precision)

    return make


def run(path, precision):
    case = load_file(path)
    encoder, decoder = halves(path.parent, precision)
    outputs = encoder.encode_clips(list(torch.stack([case["frame0"], case["frame1"]], dim=1)))
    return torch.cat(decoder.interpolate(outputs, noise=list(case["noise"][:, None]))).cpu(), case["frame"]


@cases
def test_fp32_agrees_with_the_published_network(path):
    torch.testing.assert_close(*run(path, "fp32"), rtol=0, atol=1e-5)


@cases
@precisions
def test_lower_precisions_are_near_it(path, precision):
    assert psnr(*run(path, precision)) >= AT_LEAST[precision]


@precisions
def test_lower_precisions_at_the_published_size(published, precision):
    frames = a_clip(2, 256, 448)
    encoder, decoder = published("fp32")
    wanted = decoder.interpolate([encoder.encode(frames)], seeds=[1])[0]
    encoder, decoder = published(precision)
    assert psnr(decoder.interpolate([encoder.encode(frames)], seeds=[1])[0], wanted) >= AT_LEAST[precision]


@torch.inference_mode()
@pytest.mark.parametrize("dim", [96, 768])
@pytest.mark.parametrize("tail", [0, 3])
@pytest.mark.parametrize("parts", ["alone", "update", "everything"])
def test_the_fused_norm_is_the_plain_one(dim, tail, parts, monkeypatch):
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(dim, eps=1e-6, device=GPU)
    norm.weight.normal_()
    norm.bias.normal_()
    tokens, update = torch.randn(2, 3, 7, dim, device=GPU)
    vectors = torch.randn(3, 1, 6 * dim, device=GPU).chunk(6, dim=-1)
    stream = {
        "alone": fused.Stream(tokens),
        "update": fused.Stream(tokens, update),
        "everything": fused.Stream(tokens, update, vectors[2]),
    }[parts]
    modulation = (vectors[0], vectors[1]) if parts == "everything" else None
    behind = torch.randn(3, tail, dim, device=GPU) if tail else None
    ours = fused.add_norm(stream, norm, modulation, behind)
    monkeypatch.setattr(fused, "kernels", None)
    torch.testing.assert_close(ours, fused.add_norm(stream, norm, modulation, behind), rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("heads", "width", "corners"), [(3, 32, 4), (12, 64, 4), (12, 64, 1), (4, 16, 4), (2, 24, 1)])
def test_the_fused_temporal_attention_is_the_plain_one(heads, width, corners, monkeypatch):
    torch.manual_seed(0)
    own = torch.randn(3, 11, 3, heads, width, device=GPU)
    frames = torch.randn(5, 11, corners, 2, heads, width, device=GPU)
    first = torch.tensor([0, 1, 3], device=GPU)
    ours = fused.temporal_attention(own, frames, first)
    monkeypatch.setattr(fused, "kernels", None)
    torch.testing.assert_close(ours, fused.temporal_attention(own, frames, first), rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("heads", "width"), [(3, 32), (12, 64), (2, 24)])
@pytest.mark.parametrize(("length", "kept"), [(1, 1), (64, 64), (100, 80), (405, 405), (560, 448)])
def test_our_self_attention_is_the_exact_one(heads, width, length, kept):
    torch.manual_seed(0)
    qkv = 2 * torch.randn(2, length, 3, heads, width, device=GPU, dtype=torch.bfloat16)
    exact = fused.self_attention(qkv.float(), kept)
    torch.testing.assert_close(fused.self_attention(qkv, kept).float(), exact, rtol=2**-7, atol=2**-7)


@torch.inference_mode()
@pytest.mark.parametrize("as_uint8", [False, True])
@pytest.mark.parametrize("side", [8, 16])
def test_the_fused_pixels_are_the_plain_ones(side, as_uint8, monkeypatch):
    torch.manual_seed(0)
    patches, mean, std = torch.randn(3, 24, 3 * side**2, device=GPU), *torch.rand(2, 3, device=GPU)
    ours = fused.pixels(patches, mean, std, (4, 6), as_uint8)
    monkeypatch.setattr(fused, "kernels", None)
    # one product and sum may be rounded once or twice: a value on the edge goes either way
    within = 1 if as_uint8 else 1e-6
    wanted = fused.pixels(patches, mean, std, (4, 6), as_uint8)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=within)
    assert (ours != wanted).float().mean() < (1e-3 if as_uint8 else 1)


@torch.inference_mode()
def test_gelu_at_the_end_of_a_product_is_near_the_exact_one():
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 512, device=GPU, dtype=torch.bfloat16)
    x = torch.randn(2, 40, 256, device=GPU, dtype=torch.bfloat16) * 3
    exact = torch.nn.functional.gelu(torch.nn.functional.linear(x.float(), linear.weight.float(), linear.bias.float()))
    torch.testing.assert_close(fused.linear_gelu(x, linear).float(), exact, rtol=2**-8, atol=1e-3)


def test_a_batch_is_its_clips_and_a_clip_its_pairs():
    encoder, decoder = halves(PARITY / "tiny")
    clips = [a_clip(2, 48, 80, seed) for seed in range(7)] + [a_clip(4, 50, 70, 9)]
    together = decoder.interpolate(encoder.encode_clips(clips), seeds=range(8))
    for seed, frames in enumerate(together):
        alone = decoder.interpolate([encoder.encode(clips[seed])], seeds=[seed])[0]
        torch.testing.assert_close(frames, alone, rtol=0, atol=1e-5)
    for i in range(3):
        pair = decoder.interpolate([encoder.encode(clips[7][i : i + 2])], seeds=[7])[0]
        torch.testing.assert_close(together[7][i : i + 1], pair, rtol=0, atol=1e-5)


def test_uint8_answers_are_the_rounded_float_ones():
    encoder, decoder = halves(PARITY / "tiny")
    outputs = encoder.encode_clips([a_clip(5, 50, 70, 1), a_clip(2, 64, 96, 2)])
    for exact, rounded in zip(
        decoder.interpolate(outputs, seeds=[1, 2]),
        decoder.interpolate(outputs, seeds=[1, 2], as_uint8=True),
        strict=True,
    ):
        assert not rounded.is_cuda
        assert torch.equal(rounded, (exact * 255).round().to(torch.uint8).cpu())
        assert rounded.permute(0, 2, 3, 1).is_contiguous()


def test_clips_copied_in_on_another_stream_while_one_is_drawn_are_drawn_whole(published):
    """As bench.pipeline does: memory comes from the copies' stream, and goes back to it while others are drawn."""
    encoder, decoder = published("bf16")
    there = [encoder.encode(a_clip(9, 256, 448, seed)) for seed in range(4)]
    here = [output.to("cpu") for output in there]
    pinned = [type(each)(**{**vars(each), **{n: t.pin_memory() for n, t in each.tensors().items()}}) for each in here]
    wanted = [decoder.interpolate([output], as_uint8=True)[0] for output in there]
    stream = torch.cuda.Stream()

    def copied(number):
        with torch.cuda.stream(stream):
            output = pinned[number % 4].to(GPU, non_blocking=True)
        torch.cuda.current_stream().wait_stream(stream)
        for tensor in output.tensors().values():
            tensor.record_stream(torch.cuda.current_stream())
        return output

    output = copied(0)
    for number in range(40):
        (frames,) = decoder.begin([output], as_uint8=True)
        output = copied(number + 1)
        decoder.finish()
        assert torch.equal(frames, wanted[number % 4])


def test_results_stay_when_the_next_ones_come():
    encoder, decoder = halves(PARITY / "tiny")
    output = encoder.encode(a_clip(2, 64, 64))
    first = decoder.interpolate([output], seeds=[1])[0]
    before = first.clone()
    second = decoder.interpolate([output], seeds=[2])[0]
    assert torch.equal(first, before)
    assert not torch.equal(first, second)


def test_graphs_are_few_and_old_ones_go():
    encoder, decoder = halves(PARITY / "tiny")
    decoder.engine.graphs.capacity = 3
    wanted = {}
    for _ in range(2):
        for side in (32, 64, 96, 128, 160):
            made = decoder.interpolate([encoder.encode(a_clip(2, side, side))])[0].cpu()
            torch.testing.assert_close(made, wanted.setdefault(side, made), rtol=0, atol=0)
            assert len(decoder.engine.graphs) <= 3


def test_a_batch_too_large_for_memory_is_split(published):
    encoder, decoder = published("bf16")
    outputs = encoder.encode_clips([a_clip(2, 480, 854, seed) for seed in range(12)])
    wanted = [decoder.interpolate([output], seeds=[3], as_uint8=True)[0] for output in outputs]
    for graphs in (encoder.graphs, decoder.engine.graphs):
        graphs.clear()
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    # less than half of what all twelve take together
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**30) / total)
    try:
        made = decoder.interpolate(outputs, seeds=[3] * 12, as_uint8=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert decoder.engine.out_of_memory >= 1
    assert decoder.engine.pairs_per_pass(outputs[0].grid) < 12
    for frames, alone in zip(made, wanted, strict=True):
        assert psnr(frames / 255, alone / 255) > 45


def give_back(*halves):
    for half in halves:
        (half.graphs if isinstance(half, Encoder) else half.engine.graphs).clear()
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def ballast(free_share, need):
    """The card has three times `need` bytes left for PyTorch, all taken but for this share of one; yields what takes.

    A bound on what PyTorch takes, not a full card: libraries and the driver need some of their own.
    """
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 3 * need) / total)
    try:
        taken = [torch.empty(int((3 - free_share) * need), dtype=torch.uint8, device=GPU)]
        yield taken
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_passes_grow_back_once_memory_is_free_again(published):
    encoder, decoder = published("bf16")
    output = encoder.encode(a_clip(26, 480, 854))
    full = decoder.engine.pairs_per_pass(output.grid)
    assert full == 25
    give_back(encoder, decoder)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    wanted = decoder.interpolate([output], as_uint8=True)[0]
    need = torch.cuda.max_memory_reserved() - before
    give_back(decoder)
    with ballast(1 / 4, need) as taken:
        for _ in range(2):
            short = decoder.interpolate([output], as_uint8=True)[0]
            for one, other in zip(short, wanted, strict=True):
                assert psnr(one / 255, other / 255) > 45
        failed = decoder.engine.out_of_memory
        assert failed >= 1 and decoder.engine.pairs_per_pass(output.grid) < full
        assert len(decoder.engine.graphs) >= 1  # recorded anew, at what fits
        taken.clear()
        give_back()
        for _ in range(500):
            if decoder.engine.pairs_per_pass(output.grid) == full:
                break
            decoder.interpolate([output], as_uint8=True)
        assert decoder.engine.pairs_per_pass(output.grid) == full
        assert torch.equal(decoder.interpolate([output], as_uint8=True)[0], wanted)
        assert decoder.engine.out_of_memory == failed


def test_the_encoder_works_in_small_passes_until_memory_is_free_again(published):
    encoder, _ = published("bf16")
    frames = a_clip(80, 480, 854)
    encoder.encode(frames[:2])
    give_back(encoder)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    wanted = encoder.encode(frames).to("cpu").tensors()
    full = encoder.pass_size.limit
    assert encoder.pass_size.items(30 * 54) == 80
    need = torch.cuda.max_memory_reserved() - before
    give_back(encoder)
    # what has to fit at once whatever the passes are, frames and tokens twice, is less than half of it
    with ballast(6 / 10, need) as taken:
        short = encoder.encode(frames).to("cpu").tensors()
        failed = encoder.out_of_memory
        assert failed >= 1 and encoder.pass_size.limit < full
        for name, tensor in short.items():
            torch.testing.assert_close(tensor, wanted[name], rtol=2**-6, atol=2**-6)
        taken.clear()
        give_back()
        for _ in range(500):
            if encoder.pass_size.limit == full:
                break
            encoder.encode(frames)
        assert encoder.pass_size.limit == full
        for name, tensor in encoder.encode(frames).to("cpu").tensors().items():
            assert torch.equal(tensor, wanted[name])
        assert encoder.out_of_memory == failed


def test_tokens_still_being_written_are_awaited_by_event():
    encoder, decoder = halves(PARITY / "tiny")
    output = encoder.encode(a_clip(2, 64, 96))
    wanted = decoder.interpolate([output])[0]
    late = type(output)(**{**vars(output), "cond_dit": torch.zeros_like(output.cond_dit)})
    torch.cuda.synchronize()
    writer, written = torch.cuda.Stream(), torch.cuda.Event()
    with torch.cuda.stream(writer):
        torch.cuda._sleep(200_000_000)
        late.cond_dit.copy_(output.cond_dit)
        written.record()
    torch.cuda.current_stream().wait_event(written)
    torch.testing.assert_close(decoder.interpolate([late])[0], wanted, rtol=0, atol=0)


def test_nothing_waits_for_the_gpu_before_the_pixels(published):
    encoder, decoder = published("bf16")
    frames = a_clip(2, 256, 448).pin_memory()
    decoder.interpolate([encoder.encode(frames)])
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        decoder.interpolate([encoder.encode(frames)])
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("default")


def test_warming_records_what_requests_will_need():
    encoder, decoder = halves(PARITY / "tiny")
    encoder.warm([(64, 96)], [1, 4])
    decoder.warm([(64, 96)], [1, 4])
    recorded = len(decoder.engine.graphs)
    decoder.interpolate(encoder.encode_clips([a_clip(2, 64, 96)] * 4), as_uint8=True)
    decoder.interpolate([encoder.encode(a_clip(5, 64, 96))], as_uint8=True)
    assert len(decoder.engine.graphs) == recorded == 3
