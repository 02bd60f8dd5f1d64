"""The network agrees with the published one at every tensor that was recorded of it, within 1e-5 (float32, CPU)."""

import torch

from eden import DitDecoder, Encoder
from eden.batch import first_frames
from eden.geometry import to_cells, to_pixels
from eden.grid_constants import grid_constants
from eden.sampler import sample

WITHIN = {"rtol": 0, "atol": 1e-5}
CPU = torch.device("cpu")


def test_frame_through_the_public_contracts(case):
    outputs = Encoder.load(case.checkpoint).encode_clips(case.clips)
    frames = DitDecoder.load(case.checkpoint).interpolate(outputs, noise=case.noise)
    torch.testing.assert_close(torch.cat(frames), case["frame"], **WITHIN)


def test_encoder_output(case):
    outputs = Encoder.load(case.checkpoint).encode_clips(case.clips)
    torch.testing.assert_close(torch.stack([output.difference for output in outputs]), case["difference"], **WITHIN)
    for name in ("cond_dit", "cond_dec"):
        found = torch.stack([getattr(output, name) for output in outputs], dim=1)
        torch.testing.assert_close(found.flatten(0, 1), case[name], **WITHIN)
    for name in ("stats_mean", "stats_std"):
        found = torch.stack([getattr(output, name).mean() for output in outputs])
        torch.testing.assert_close(found, case[name].flatten(), **WITHIN)


def _frames_in_clips(case, name):
    """[2B,n,d], all frame 0 first, -> clip by clip, as `Pairs.of_clips` wants them."""
    return case[name].unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)


def _stage(case):
    """(engine, the case's pairs, its grid's constants)."""
    engine = DitDecoder.load(case.checkpoint).engine
    height, width = case["frame_unclamped"].shape[-2:]
    constants = grid_constants((height // 16, width // 16), engine.config.hidden_dim, CPU, torch.float32)
    return engine, first_frames((2,) * len(case["noise"]), CPU), constants


@torch.inference_mode()
def test_velocity_at_a_time_between_the_steps(case):
    engine, first, constants = _stage(case)
    seen = list(engine.dit.frame_keys_values(to_cells(_frames_in_clips(case, "cond_dit"), constants.grid)))
    (by,) = engine.dit.modulations(engine.dit.denoise_timestep_embedder(torch.tensor([0.3])), case["difference"][:, 0])
    torch.testing.assert_close(engine.dit(case["noise"], by, seen, first, constants), case["velocity_t0_3"], **WITHIN)


@torch.inference_mode()
def test_latents_after_sampling(case):
    engine, first, constants = _stage(case)
    seen = list(engine.dit.frame_keys_values(to_cells(_frames_in_clips(case, "cond_dit"), constants.grid)))
    steps = engine.dit.modulations(engine.timestep_embeddings, case["difference"][:, 0])
    latents = sample(lambda x, step: engine.dit(x, steps[step], seen, first, constants), case["noise"])
    torch.testing.assert_close(latents, case["latents"], **WITHIN)


@torch.inference_mode()
def test_frame_before_clamping_and_cropping(case):
    engine, first, constants = _stage(case)
    z = case["latents"] / engine.config.vae_scaler + engine.config.vae_shift
    patches = engine.decoder(z, engine.decoder.frame_keys_values(_frames_in_clips(case, "cond_dec")), first, constants)
    frames = to_pixels(patches, constants.grid, engine.config.patch_size).permute(0, 3, 1, 2)
    found = frames * case["stats_std"] + case["stats_mean"]
    torch.testing.assert_close(found, case["frame_unclamped"], **WITHIN)
