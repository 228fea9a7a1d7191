"""Less work for the same images: guidance for a fraction of the steps, and attention that projects in one product."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from support.generation import CPU, TINY, drawn, flags, images, refused, settings
from support.tiny_pipelines import FAMILIES

from stable_diffusion.drawing.denoiser import compile_denoiser, denoiser_name, fuse_projections
from stable_diffusion.drawing.render import render
from stable_diffusion.drawing.sampling import DOUBLED, check_guidance_until, guidance_options, guided_steps
from stable_diffusion.loading.family import call_options
from stable_diffusion.loading.pipeline import load_pipeline
from utils.errors import UserError

GUIDED = ("SD 1, 2", pytest.param("SDXL", marks=pytest.mark.slow), pytest.param("SD 3", marks=pytest.mark.slow))
PROMPTS, SEEDS = ["Portrait of a smiling man", "Portrait of a serious woman"], [7, 8]
OPTIONS = {"steps": 4, "guidance_scale": 3.0, "size": 32}


@pytest.fixture(scope="module")
def loaded(saved):
    """A family's pipeline on the CPU, with a fused denoiser or without; loaded when it is first asked for."""

    @cache
    def pipeline(family, fused=False):
        own = "ddim" if family == "SD 1, 2" else None
        return load_pipeline(str(saved(family)), own, CPU, "fp32", fused=fused)

    return pipeline


def tensors_in(found):
    """The tensors of more than one row in what a model is called with, in their order."""
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, (list, tuple)) else ()
    own = [found] if isinstance(found, torch.Tensor) and found.ndim else []
    return own + [tensor for part in parts for tensor in tensors_in(part)]


def calls_of(pipeline, **options):
    """The tensors with which each evaluation of the denoiser is called while two images are drawn, and the images."""
    calls = []
    hook = getattr(pipeline, denoiser_name(pipeline)).register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(tensors_in([args, kwargs])), with_kwargs=True
    )
    try:
        return calls, render(pipeline, PROMPTS, SEEDS, **{**OPTIONS, **options})
    finally:
        hook.remove()


# ---- guidance until


@pytest.mark.parametrize("family", GUIDED)
def test_later_steps_see_the_prompt_alone(family, loaded):
    calls, _ = calls_of(loaded(family), guidance_until=0.5)
    assert [len(call[0]) for call in calls] == [4, 4, 2, 2]
    asked = [[tensor for tensor in call[1:] if tensor.ndim > 1] for call in calls]  # neither latents nor timesteps
    for before, after in zip(asked[0], asked[-1], strict=True):
        assert len(before) == 4 and torch.equal(after, before[2:])
    assert not torch.equal(asked[0][0][:2], asked[0][0][2:])  # so the halves can be told apart


@pytest.mark.parametrize("family", GUIDED)
def test_nothing_is_left_behind_and_no_image_depends_on_its_neighbour(family, loaded):
    pipeline = loaded(family)
    whole = render(pipeline, PROMPTS, SEEDS, **OPTIONS)
    part = render(pipeline, PROMPTS, SEEDS, **OPTIONS, guidance_until=0.25)
    assert (part != whole).any()
    assert (render(pipeline, PROMPTS, SEEDS, **OPTIONS) == whole).all()
    alone = render(pipeline, PROMPTS[1:], SEEDS[1:], **OPTIONS, guidance_until=0.25)[0]
    assert np.abs(part[1].astype(int) - alone).max() <= 1


@torch.inference_mode()
def test_the_images_are_those_of_a_plain_loop(loaded):
    pipeline = loaded("SD 1, 2")

    def encode(texts):
        ids = pipeline.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return pipeline.text_encoder(ids.input_ids)[0]

    asked, empty = encode(PROMPTS), encode(["", ""])
    shape = (1, pipeline.unet.config.in_channels, *[32 // pipeline.vae_scale_factor] * 2)
    latents = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    pipeline.scheduler.set_timesteps(4)
    for i, moment in enumerate(pipeline.scheduler.timesteps):
        noise = pipeline.unet(latents, moment, encoder_hidden_states=asked).sample
        if i < 3:
            plain = pipeline.unet(latents, moment, encoder_hidden_states=empty).sample
            noise = plain + 3.0 * (noise - plain)
        latents = pipeline.scheduler.step(noise, moment, latents).prev_sample
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    expected = ((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round()
    drawn_here = render(pipeline, PROMPTS, SEEDS, **OPTIONS, guidance_until=0.75)
    assert np.abs(expected - drawn_here).max() <= 1


@pytest.mark.parametrize(
    ("fraction", "steps", "guided"), [(0.5, 50, 25), (0.5, 5, 3), (0.1, 4, 1), (0.3, 10, 3), (1, 8, 8)]
)
def test_a_fraction_is_a_whole_number_of_steps(fraction, steps, guided):
    assert guided_steps(fraction, steps) == guided


@pytest.mark.parametrize(
    ("more", "noted"),
    [
        (["--guidance-until", 0.5], {"guidance_until": 0.5}),
        (["--fuse-projections"], {"fuse_projections": True}),
        (["--vae-slicing", "--vae-tiling"], {"vae_slicing": True, "vae_tiling": True}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_it_restarts_to_the_same_bytes_and_is_never_mixed_with_other_images(more, noted, tmp_path):
    done = drawn(tmp_path / "made", TINY, *more)
    assert ("guidance 9.0 in the first 50 % of them" in done.stdout) == ("guidance_until" in noted)
    made = images(tmp_path / "made")
    assert noted.items() <= settings(tmp_path / "made").items()
    next((tmp_path / "made").rglob("0_1/000000.png")).unlink()
    drawn(tmp_path / "made", TINY, *more)
    assert images(tmp_path / "made") == made
    for key, value in noted.items():
        refused(flags(tmp_path / "made", TINY), f"{key} {value}", f"{key} None", "--outdir")


def test_a_set_made_without_the_flag_goes_on_with_its_default_alone(tmp_path):
    drawn(tmp_path, TINY)
    assert not {"guidance_until", "fuse_projections", "vae_slicing"} & settings(tmp_path).keys()
    drawn(tmp_path, TINY, "--guidance-until", 1)
    refused(flags(tmp_path, TINY, "--guidance-until", 0.5), "guidance_until None")


@pytest.mark.parametrize("family", ["PixArt", "Sana", pytest.param("FLUX", marks=pytest.mark.slow)])
def test_a_pipeline_that_cannot_stop_guiding_is_named(family, saved, tmp_path):
    name = json.loads((saved(family) / "model_index.json").read_text())["_class_name"]
    parts = [f"--guidance-until 0.5: a {name} can't", "StableDiffusionXLPipeline", "leave it out"]
    refused(flags(tmp_path, saved(family), "--guidance-until", 0.5), *parts)
    assert not images(tmp_path)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--guidance-until", 0], "0 is not above 0 and at most 1"),
        (["--guidance-until", 1.5], "1.5 is not above 0 and at most 1"),
        (["--guidance-until", "nan"], "nan is not above 0"),
        (["--guidance-until", 0.5, "--guidance-scale", 1], "no step is guided"),
    ],
)
def test_a_fraction_that_guides_nothing_is_one_line(more, part, tmp_path):
    refused(flags(tmp_path, TINY, *more), part, "--guidance-until")


def test_the_whole_fraction_asks_nothing_of_any_pipeline(loaded):
    check_guidance_until(1.0, "FluxPipeline", None)
    assert guidance_options(loaded("SD 1, 2"), 1.0) == {}
    assert set(DOUBLED["StableDiffusionPipeline"]) < set(loaded("SD 1, 2")._callback_tensor_inputs)


def test_a_distilled_unet_that_takes_its_scale_as_a_number_is_refused(loaded, monkeypatch):
    pipeline = loaded("SD 1, 2")
    monkeypatch.setattr(type(pipeline), "do_classifier_free_guidance", False)
    with pytest.raises(UserError, match="--guidance-until 0.5: the model doubles no batch"):
        render(pipeline, PROMPTS, SEEDS, **OPTIONS, guidance_until=0.5)


# ---- fused projections


@pytest.mark.parametrize(
    "family", ["SD 1, 2", "PixArt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SDXL", "SD 3", "FLUX"))]
)
def test_fused_projections_change_no_image_by_more_than_a_grey_level(family, loaded):
    pipelines = [loaded(family, fused) for fused in (False, True)]
    used = []
    for name, layer in getattr(pipelines[1], denoiser_name(pipelines[1])).named_modules():
        if name.endswith("to_qkv") or name.endswith("attn1.to_q"):
            layer.register_forward_hook(lambda *_, name=name: used.append(name.rpartition(".")[2]))
    pictures = [render(pipeline, PROMPTS, SEEDS, **OPTIONS) for pipeline in pipelines]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1
    assert set(used) == {"to_qkv"}


@pytest.mark.parametrize("family", ["Sana", pytest.param("Qwen-Image", marks=pytest.mark.slow)])
def test_a_model_with_nothing_to_fuse_is_named(family, saved, tmp_path):
    parts = ["--fuse-projections: the transformer of a", family[:4], "leave it out"]
    refused(flags(tmp_path, saved(family), "--fuse-projections"), *parts)
    assert not images(tmp_path)


def test_what_diffusers_refuses_to_fuse_is_one_line(loaded, monkeypatch):
    def refuse():
        raise ValueError("added KV\nprojections")

    pipeline = loaded("SD 1, 2")
    monkeypatch.setattr(pipeline.unet, "fuse_qkv_projections", refuse)
    with pytest.raises(UserError, match="--fuse-projections: the UNet .* can't: added KV projections; leave it out"):
        fuse_projections(pipeline)


# ---- compiling


def test_a_unet_is_compiled_whole(monkeypatch):
    pipeline, asked = load_pipeline(str(TINY), "ddim", CPU, "fp32"), []
    unet = pipeline.unet
    monkeypatch.setattr(torch, "compile", lambda model: asked.append(model) or model)
    compile_denoiser(pipeline)
    assert asked == [unet]


def test_of_a_transformer_the_repeated_blocks_are_compiled(monkeypatch):
    pipeline, plain = FAMILIES["FLUX"](), torch.nn.Module.compile
    whole = pipeline.transformer
    # by the simplest compiler: the real one takes a minute
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: plain(module, backend="eager"))
    before = render(pipeline, PROMPTS, SEEDS, **OPTIONS)
    compile_denoiser(pipeline)
    compiled = [type(part).__name__ for part in whole.modules() if part._compiled_call_impl is not None]
    assert pipeline.transformer is whole and compiled == ["FluxTransformerBlock", "FluxSingleTransformerBlock"]
    assert np.abs(render(pipeline, PROMPTS, SEEDS, **OPTIONS).astype(int) - before).max() <= 1


def test_a_transformer_that_names_no_blocks_is_compiled_whole_and_called_as_before():
    pipeline = FAMILIES["FLUX"]()
    plain = call_options(pipeline, 3.0)
    pipeline.transformer._repeated_blocks = []
    compile_denoiser(pipeline)
    assert type(pipeline.transformer).__name__ == "OptimizedModule" and call_options(pipeline, 3.0) == plain
