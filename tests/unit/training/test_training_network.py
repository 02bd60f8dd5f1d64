"""The network as it is trained, where it starts, and the checkpoint that it becomes."""

import torch

from eden import DitDecoder, Encoder
from eden.batch import first_frames
from eden.grid_constants import grid_constants
from training.initial import initialise
from training.loss import DEFAULT_LOSS, Loss, psnr
from training.network import Eden, Window, seen_through
from training.progress import Progress
from training.settings import DEMO
from training.state import export, tensors_of


def shaken(network):
    """The network with every tensor a little off where it starts, in numbers that half precision can hold."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
            tensor.copy_(tensor.half())
    return network


def test_what_is_trained_is_what_is_served(network, pair, tmp_path):
    first, last, noise = pair
    trained = shaken(network)(first, last, noise).clamp(0, 1)
    export(network, Progress(), tmp_path)
    clips = [torch.stack(frames) for frames in zip(first, last, strict=True)]
    outputs = Encoder.load(tmp_path).encode_clips(clips)
    served = DitDecoder.load(tmp_path).interpolate(outputs, noise=[each[None] for each in noise])
    torch.testing.assert_close(trained, torch.cat(served), rtol=0, atol=1e-5)


def test_the_untrained_network_gives_the_average(network, pair):
    first, last, noise = pair
    made = network(first, last, noise)
    assert psnr(made, (first + last) / 2).min() > 40
    still = network(first, first, noise)
    assert psnr(still, first).min() > 40


def test_the_start_hangs_on_the_seed_alone(config):
    def made(seed):
        network = Eden(config)
        initialise(network, seed)
        return tensors_of(network)

    one, other, third = made(1), made(1), made(2)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["proj_in.weight"], third["proj_in.weight"])


def test_gradients_reach_every_tensor(network, pair):
    first, last, noise = pair
    Loss(DEFAULT_LOSS, network.config.patch_size)(network(first, last, noise), first).backward()
    latents = network.config.latent_dim
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        if name.startswith("dit.proj_out"):
            gradient = gradient[:latents]  # the rest is a variance, which nothing reads
        if name == "decoder.decoder_blocks.0.temp_attn.qkv.weight":
            # its queries begin at zero, so its keys have to wait for them
            dim = network.config.hidden_dim
            gradient = torch.cat([gradient[:dim], gradient[2 * dim :]])
        rows = gradient.flatten(1).norm(dim=1) if gradient.ndim > 1 else gradient.norm()[None]
        assert (rows > 0).all(), name


def test_the_demo_fits_into_its_file(tmp_path):
    assert export(Eden(DEMO), Progress(), tmp_path) <= 15_000_000


def test_float16_is_good_enough_to_train_in(network, pair):
    first, last, noise = pair
    exact = shaken(network)(first, last, noise)
    with torch.autocast("cpu", torch.float16):
        rough = network(first, last, noise)
    assert rough.dtype == torch.float32
    assert psnr(rough, exact).min() > 55


def test_self_attention_begins_by_looking_nearby(config):
    """With content alike everywhere, a place's own neighbours count most."""
    constants = grid_constants((8, 14), config.hidden_dim, torch.device("cpu"), torch.float32)
    middle = 3 * 14 + 6

    def drawn_to(near):
        network = Eden(config)
        initialise(network, 3, near)
        attention = network.decoder.blocks()[1].self_attn
        query, key, _ = attention.qkv(constants.patches[0]).unflatten(-1, (3, config.num_heads, -1)).unbind(1)
        width = config.hidden_dim // config.num_heads
        scores = torch.einsum("hw,khw->hk", query[middle], key) * width**-0.5
        return scores.softmax(-1)[:, [middle, middle + 1, middle - 1, middle + 14, middle - 14]].sum(-1).mean().item()

    assert drawn_to(1.0) > 2 * drawn_to(0.0)
    assert drawn_to(1.0) > 0.1


def test_constants_first_asked_for_by_a_server_can_be_trained_with():
    first_frames.cache_clear()
    grid_constants.cache_clear()
    with torch.inference_mode():
        constants = grid_constants((2, 2), 8, torch.device("cpu"), torch.float32)
        kept = (
            first_frames((2, 3), torch.device("cpu")),
            constants.patches,
            constants.cells,
            constants.down,
            constants.across,
        )
    assert not any(tensor.is_inference() for tensor in kept)


def test_a_crop_keeps_the_positions_that_it_has_in_its_frame(config):
    def constants(grid):
        return grid_constants(grid, config.hidden_dim, torch.device("cpu"), torch.float32)

    whole, seen = constants((8, 12)), seen_through(Window(2, 4, (8, 12)), constants((4, 6)))
    for tokens, cut, stride in ((whole.patches, seen.patches, 1), (whole.cells, seen.cells, 2)):
        there = tokens.view(8 // stride, 12 // stride, -1)[2 // stride : 6 // stride, 4 // stride : 10 // stride]
        assert torch.equal(cut.view(there.shape), there)
