"""Generators as people have them: folders, single files and hub ids, sound, of other kinds and damaged."""

import json
import os
import shutil
import sys
import threading
from collections import OrderedDict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from huggingface_hub import close_session, constants
from safetensors.torch import load_file, save_file
from support import SHARED
from support.generation import CPU, TINY, command, generated, images, refused
from support.ldm_layout import named_unet, named_vae, open_clip, single_file
from support.tiny_pipelines import stable_diffusion as tiny_pipeline
from transformers import CLIPTextConfig, CLIPTextModel
from transformers.utils import logging

from stable_diffusion.drawing.render import _say_once, check_lengths, guard_decoder, render
from stable_diffusion.loading import single_file as single_files
from stable_diffusion.loading.kind import kind_of
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.loading.scheduler import (
    NOISE,
    OTHER,
    decide_prediction,
    own_schedule,
    similarity_to_noise,
)
from utils.errors import UserError

UNET, VAE = "model.diffusion_model.", "first_stage_model."
SUPPORTED = "must be of Stable Diffusion 1.x or 2.x"


def configs(folder, kind, pipeline):
    """The configuration of a small pipeline where `stable_diffusion/configs` has that of a real one."""
    pipeline.save_pretrained(folder / "whole")
    for part in ("unet", "vae", "text_encoder"):
        (folder / kind / part).mkdir(parents=True)
        shutil.copy(folder / "whole" / part / "config.json", folder / kind / part)
    shutil.copy(single_files.CONFIGS / kind / "model_index.json", folder / kind)
    return folder


def load_plain(folder):
    return load_pipeline(str(folder), "ddim", CPU, "fp32")


def drawn(pipeline):
    return render(pipeline, ["Portrait face photo of a smiling woman"], [1], steps=2, guidance_scale=3.0, size=32)


def unsupported(model, *parts):
    """The model is refused in one line, by its small files alone."""
    with pytest.raises(UserError) as caught:
        kind_of(str(model))
    assert len(str(caught.value).splitlines()) == 1
    for part in (model, *parts):
        assert str(part) in str(caught.value)


# ---- single files


@pytest.mark.parametrize(("kind", "unet", "text"), [("sd1", 859520964, 123060480), ("sd2", 865910724, 340387840)])
def test_shipped_configurations_are_those_of_the_published_models(kind, unet, text):
    """As many parameters as published, and the names and shapes that diffusers' converters make of the real files' names."""
    with torch.device("meta"):
        pipeline = SimpleNamespace(
            unet=UNet2DConditionModel.from_config(
                json.loads((single_files.CONFIGS / kind / "unet/config.json").read_text())
            ),
            vae=AutoencoderKL.from_config(json.loads((single_files.CONFIGS / kind / "vae/config.json").read_text())),
            text=CLIPTextModel(CLIPTextConfig.from_pretrained(single_files.CONFIGS / kind / "text_encoder")),
        )
    counts = [
        sum(weight.numel() for weight in getattr(pipeline, part).parameters()) for part in ("unet", "vae", "text")
    ]
    assert counts == [unet, 83653863, text]
    for part, named, convert in (
        (pipeline.unet, named_unet(pipeline.unet), single_file_utils.convert_ldm_unet_checkpoint),
        (pipeline.vae, named_vae(pipeline.vae), single_file_utils.convert_ldm_vae_checkpoint),
    ):
        made = {name: weight.shape for name, weight in convert(dict(named), part.config).items()}
        assert made == {name: weight.shape for name, weight in part.state_dict().items()}
    if kind == "sd2":  # of 24 layers in the file the last is not used
        named = open_clip(pipeline.text.state_dict())
        named |= {name.replace(".22.", ".23."): weight for name, weight in named.items() if ".22." in name}
        made = single_file_utils.convert_open_clip_checkpoint(
            pipeline.text, prefixed(named), prefix="cond_stage_model.model."
        )
        bare = {name.removeprefix("text_model."): weight.shape for name, weight in made.items()}
        bare.pop("text_projection.weight", None)
        assert bare == {name: weight.shape for name, weight in pipeline.text.state_dict().items()}
    assert {single_file_utils.CHECKPOINT_KEY_NAMES[name] for name in ("v1", "v2")} <= named_unet(pipeline.unet).keys()


def prefixed(named):
    return {f"cond_stage_model.model.{name}": tensor for name, tensor in named.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_single_file_makes_the_same_images_as_its_folder(kind, suffix, tmp_path, monkeypatch):
    pipeline = tiny_pipeline(kind)
    monkeypatch.setattr(single_files, "CONFIGS", configs(tmp_path, kind, pipeline))
    monkeypatch.setattr("stable_diffusion.loading.pipeline.CONFIGS", tmp_path)
    path = tmp_path / f"model{suffix}"
    if suffix == ".ckpt":  # as Stable Diffusion 1.4 was published: with a class of the training program in it
        callback = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})
        module = SimpleNamespace(ModelCheckpoint=callback)
        names = ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint")
        state = OrderedDict(single_file(pipeline, kind))
        with mock.patch.dict(sys.modules, dict.fromkeys(names, module)):
            torch.save({"global_step": 470000, "state_dict": state, "callbacks": {callback: {"best": None}}}, path)
    else:
        save_file(single_file(pipeline, kind), path)
    options = {"scheduler": "ddim", "device": CPU, "precision": "fp32", "prediction": "epsilon"}
    single, folder = load_pipeline(str(path), **options), load_pipeline(str(tmp_path / "whole"), **options)
    assert single.safety_checker is None and folder.safety_checker is None
    assert single.tokenizer.pad_token_id == (0 if kind == "sd2" else 49407)
    assert (drawn(single) == drawn(folder)).all() and single.content == folder.content


def test_what_a_file_predicts_is_measured_and_recorded(tmp_path, monkeypatch):
    pipeline = tiny_pipeline("sd2")  # random, so it doesn't hand back the noise
    monkeypatch.setattr(single_files, "CONFIGS", configs(tmp_path, "sd2", pipeline))
    monkeypatch.setattr("stable_diffusion.loading.pipeline.CONFIGS", tmp_path)
    path = tmp_path / "v2-1_768-ema-pruned.safetensors"
    save_file(single_file(pipeline, "sd2"), path)
    flags = ["--model", path, "--size", 32]
    assert "predicts v_prediction: measured" in generated(command(tmp_path / "out", *flags)).stdout
    manifest = tmp_path / "out" / "Smiling_Male" / "contextual" / "manifest.jsonl"
    head, *lines = manifest.read_text().splitlines()
    assert json.loads(head)["settings"]["prediction"] == "v_prediction"
    before = images(tmp_path / "out")
    next((tmp_path / "out").rglob("1_1/000002.png")).unlink()
    generated(command(tmp_path / "out", *flags))
    assert images(tmp_path / "out") == before
    parts = ["prediction 'v_prediction'", "prediction 'epsilon'", "--outdir"]
    refused(command(tmp_path / "out", *flags, "--prediction", "epsilon"), *parts)
    # as a version left it that took every file for one that predicts the noise
    head = json.loads(head)
    del head["settings"]["prediction"]
    manifest.write_text("\n".join([json.dumps(head), *lines[:-1]]) + "\n")
    next((tmp_path / "out").rglob("1_1/000002.png")).unlink()
    refused(command(tmp_path / "out", *flags), "prediction None", "prediction 'v_prediction'", "--outdir")


def names(*parts, shape=(1,), **shapes):
    return {**dict.fromkeys(parts, shape), **shapes}


def whole(channels=4, width=1024, kind="sd2", **more):
    """The tensors that tell a kind, named and shaped as in real files, without the many between them."""
    found = {
        UNET + "input_blocks.0.0.weight": (320, channels, 3, 3),
        UNET + "out.2.weight": (4, 320, 3, 3),
        UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, width),
        VAE + "decoder.conv_in.weight": (8, 4, 3, 3),
        single_files.TEXT_ENCODERS[kind]: (77, 8),
    }
    return {**found, **more}


def without(shapes, part):
    return {name: shape for name, shape in shapes.items() if not name.startswith(part)}


XL = "conditioner.embedders.{}.model.transformer.resblocks.9.mlp.c_proj.bias"
SD3 = UNET + "joint_blocks.0.context_block.adaLN_modulation.1.bias"
KINDS = {
    "SDXL": (names(XL.format(1), **{UNET + "label_emb.0.0.weight": (8, 8)}), ["xl_base", SUPPORTED]),
    "SDXL's refiner": (names(XL.format(0)), ["xl_refiner", SUPPORTED]),
    "Stable Diffusion 3": (names(SD3, shape=(9216,), pos_embed=(1, 36864, 1)), ["sd3", SUPPORTED]),
    "half of Stable Diffusion 3": (names(SD3, shape=(9216,)), ["the denoising network alone"]),
    "inpainting": (whole(9, 768, "sd1"), ["inpainting", "9 channels"]),
    "depth": (whole(5), ["depth-to-image", "5 channels"]),
    "InstructPix2Pix": (whole(8, 768, "sd1"), ["InstructPix2Pix", "8 channels"]),
    "upscaler": (whole(7), ["upscaler", "7 channels"]),
    "unCLIP": (whole(**{UNET + "label_emb.0.0.weight": (8, 8)}), ["unCLIP"]),
    "another text width": (whole(width=1280), ["width 1280"]),
    "ControlNet": (names("control_model.time_embed.0.weight"), ["ControlNet"]),
    "ControlNet of diffusers": (names("controlnet_cond_embedding.conv_in.weight"), ["ControlNet"]),
    "LoRA of kohya": (names("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"), ["LoRA"]),
    "LoRA of peft": (names("unet.down_blocks.0.attentions.0.proj_in.lora_A.weight"), ["LoRA"]),
    "LoRA of diffusers": (names("unet.mid_block.processor.to_q_lora.down.weight"), ["LoRA"]),
    "textual inversion": (names("emb_params"), ["textual inversion"]),
    "motion module": (names("down_blocks.0.motion_modules.0.norm.weight"), ["AnimateDiff"]),
    "VAE": (names("decoder.conv_in.weight", "encoder.conv_in.weight", "quant_conv.weight"), ["a VAE alone"]),
    "VAE with its prefix": (names(VAE + "decoder.conv_in.weight"), ["a VAE alone"]),
    "UNet": (names("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"), ["a UNet alone", "model_index.json"]),
    "UNet with its prefix": (names(single_files.CONV_IN, shape=(320, 4, 3, 3)), ["the denoising network alone"]),
    "text encoder": (names("text_model.embeddings.position_embedding.weight"), ["a text encoder alone"]),
    "without text encoder": (without(whole(), "cond_stage"), ["its text encoder is missing"]),
    "without VAE": (without(whole(), VAE), ["its VAE is missing"]),
    "classifier": (names("fc.weight", "layer1.0.conv1.weight"), ["none of its 2 tensors"]),
    "empty": ({}, ["none of its 0 tensors"]),
}


@pytest.mark.parametrize(("shapes", "parts"), KINDS.values(), ids=KINDS)
def test_a_file_of_another_kind_is_refused_with_what_it_is(shapes, parts, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}, path)
    unsupported(path, *parts)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("cut.safetensors", None, "cut off or damaged"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("pointer.ckpt", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("page.ckpt", b"<!doctype html>", "is a web page"),
        ("nowhere.pt", ..., "no such file"),
        ("model.gguf", b"GGUF", ".safetensors or .ckpt"),
        ("empty.safetensors", b"", "cut off or damaged"),
    ],
)
def test_a_damaged_file_is_one_line(name, content, part, tmp_path):
    if content is None:
        content = (TINY / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()[:-100]
    if content is not ...:
        (tmp_path / name).write_bytes(content)
    unsupported(tmp_path / name, part)


# ---- folders


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edited(name, **changes):
    return lambda folder: edit(folder, name, **changes)


INDEX, UNET_CONFIG, SCHEDULER = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
NO_TEXT = "a StableDiffusionXLImg2ImgPipeline does not draw an image from a text alone"
FOLDERS = {
    "SDXL's refiner": (edited(INDEX, _class_name="StableDiffusionXLImg2ImgPipeline"), NO_TEXT),
    "inpainting": (edited(INDEX, _class_name="StableDiffusionInpaintPipeline"), "StableDiffusionInpaintPipeline"),
    "class of its own": (edited(INDEX, _class_name=["mine", "Mine"]), "['mine', 'Mine']"),
    "inpainting UNet": (edited(UNET_CONFIG, in_channels=9), "an inpainting model"),
    "SDXL's UNet": (edited(UNET_CONFIG, addition_embed_type="text_time"), "SDXL"),
    "unCLIP": (edited(UNET_CONFIG, class_embed_type="projection"), "unCLIP"),
    "flow matching": (edited(SCHEDULER, _class_name="FlowMatchEulerDiscreteScheduler"), "made for FlowMatchEuler"),
    "LCM's sampler": (edited(SCHEDULER, _class_name="LCMScheduler"), "made for LCMScheduler"),
    "LCM": (edited(UNET_CONFIG, time_cond_proj_dim=256), "latent consistency"),
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), "text_encoder/config.json is missing"),
    "text encoder null": (edited(INDEX, text_encoder=[None, None]), "names no text_encoder: it was saved without"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler/scheduler_config.json is missing"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "unet/ holds no .safetensors or .bin"),
    "no index": (lambda f: (f / INDEX).unlink(), "no model_index.json"),
    "bad JSON": (lambda f: (f / UNET_CONFIG).write_text("{"), "unet/config.json is not JSON"),
    "JSON list": (lambda f: (f / INDEX).write_text("[]"), "model_index.json is not a JSON object"),
    "git-lfs": (lambda f: (f / WEIGHTS).write_text("version https://git-lfs"), "git lfs pull"),
    "cut off": (lambda f: os.truncate(f / "text_encoder" / "model.safetensors", 10**5), "cut off or damaged"),
}


@pytest.mark.parametrize(("spoil", "part"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_of_another_kind_or_not_whole_is_refused(spoil, part, own_tiny):
    spoil(own_tiny)
    unsupported(own_tiny, part)


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_both_the_run_and_its_dry_run_refuse_before_anything_is_loaded(flags, own_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("stable_diffusion.loading.pipeline.StableDiffusionPipeline", None)
    path = tmp_path / "sd-v1-5-inpainting.safetensors"
    save_file({name: torch.zeros(shape, dtype=torch.float16) for name, shape in whole(9, 768, "sd1").items()}, path)
    edit(own_tiny, "model_index.json", _class_name="StableVideoDiffusionPipeline")
    for model, part in ((path, "an inpainting model"), (own_tiny, "a StableVideoDiffusionPipeline does not draw")):
        refused(command(tmp_path / "out", "--model", model, *flags), model, part)
    assert not images(tmp_path / "out")


def test_a_folder_around_a_single_file_names_the_file(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "v2-1_512-ema-pruned.safetensors").touch()
    unsupported(tmp_path / "model", "give", "v2-1_512-ema-pruned.safetensors")


def test_a_folder_of_half_precision_files_alone_is_loaded(own_tiny):
    expected = drawn(load_plain(own_tiny))
    for path in list(own_tiny.glob("*/*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert (drawn(load_plain(own_tiny)) == expected).all()
    # and where one part has plain weights as well
    shutil.copy(
        own_tiny / "vae" / "diffusion_pytorch_model.fp16.safetensors",
        own_tiny / "vae" / "diffusion_pytorch_model.safetensors",
    )
    assert (drawn(load_plain(own_tiny)) == expected).all()


def test_a_folder_of_pickles_is_loaded_and_executes_nothing(own_tiny, tmp_path):
    expected = drawn(load_plain(own_tiny))
    for path in list(own_tiny.glob("*/*.safetensors")):
        name = "pytorch_model.bin" if path.parent.name == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(load_file(path), path.with_name(name))
        path.unlink()
    assert (drawn(load_plain(own_tiny)) == expected).all()

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/never",)

    torch.save({"conv_in.weight": Evil()}, own_tiny / "unet" / "diffusion_pytorch_model.bin")
    refused(command(tmp_path / "out", "--model", own_tiny), own_tiny, "cannot be loaded")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("verbosity", [30, 40])
def test_tensors_that_a_text_encoder_lacks_are_not_made_up(own_tiny, verbosity, request):
    path = own_tiny / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    lost = next(name for name in tensors if name.endswith("mlp.fc1.weight"))
    del tensors[lost]
    save_file(tensors, path, {"format": "pt"})
    request.addfinalizer(partial(logging.set_verbosity, logging.get_verbosity()))
    logging.set_verbosity(verbosity)
    with pytest.raises(UserError, match="1 tensors of its text encoder are missing, .*mlp.fc1.weight the first"):
        load_plain(own_tiny)
    assert logging.get_verbosity() == verbosity


def test_weights_that_a_file_lacks_are_named(own_tiny, tmp_path):
    path = own_tiny / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_out.weight"]
    save_file(weights, path)
    refused(command(tmp_path / "out", "--model", own_tiny), own_tiny, "conv_out.weight")


def test_a_tokenizer_without_a_limit_takes_the_text_encoders(own_tiny):
    path = own_tiny / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["model_max_length"]
    path.write_text(json.dumps(config))
    pipeline = load_plain(own_tiny)
    assert pipeline.tokenizer.model_max_length == 77
    with pytest.raises(UserError, match="the model reads 77"):
        check_lengths(pipeline, ["a face " * 60])


def test_a_tokenizer_of_another_model_is_refused(own_tiny):
    path = own_tiny / "tokenizer" / "vocab.json"
    vocabulary = json.loads(path.read_text())
    path.write_text(json.dumps({**vocabulary, "wordfromelsewhere</w>": len(vocabulary)}))
    with pytest.raises(UserError, match="49409 tokens, its text encoder 49408"):
        load_plain(own_tiny)


# ---- what the UNet predicts, and the schedule


def test_the_noise_is_told_from_the_velocity_by_what_the_unet_makes_of_noise(own_tiny, tmp_path):
    assert similarity_to_noise(load_plain(TINY), CPU) < OTHER / 2
    edit(own_tiny, "scheduler/scheduler_config.json", prediction_type="epsilon")
    parts = ["says that it predicts epsilon", "behaves as v_prediction", "--prediction v_prediction"]
    refused(command(tmp_path / "out", "--model", own_tiny), *parts)
    flags = ["--model", own_tiny, "--prediction", "v_prediction"]
    generated(command(tmp_path / "out", *flags))
    generated(command(tmp_path / "right"))
    assert images(tmp_path / "out") == images(tmp_path / "right")


@pytest.mark.skipif(
    not (SHARED / "models" / "celeba-sd-64").exists(), reason="no generator of real faces in AIM_FAIR_SHARED"
)
def test_a_trained_model_that_predicts_the_noise_hands_it_back(tmp_path):
    real = SHARED / "models" / "celeba-sd-64"
    assert similarity_to_noise(load_pipeline(str(real), "ddim", CPU, "bf16"), CPU) > (1 + NOISE) / 2
    copy = tmp_path / "model"
    copy.mkdir()
    for part in real.iterdir():
        if part.name != "scheduler":
            (copy / part.name).symlink_to(part)
    shutil.copytree(real / "scheduler", copy / "scheduler")
    edit(copy, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(UserError, match="says that it predicts v_prediction, but its UNet behaves as epsilon"):
        load_plain(copy)


@pytest.mark.parametrize(("said", "similarity", "expected"), [
    (None, 0.99, "epsilon"), (None, 0.1, "v_prediction"), ("epsilon", 0.97, "epsilon"), ("sample", -0.2, "sample"),
    ("epsilon", 0.7, "epsilon"), ("v_prediction", float("nan"), "v_prediction"),
])  # fmt: skip
def test_what_is_made_of_a_measurement(said, similarity, expected):
    assert decide_prediction("m", said, similarity) == expected


@pytest.mark.parametrize("similarity", [0.7, float("nan")])
def test_a_file_of_which_it_cannot_be_told_wants_the_flag(similarity):
    with pytest.raises(UserError, match="--prediction"):
        decide_prediction("m", None, similarity)


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp", "euler", "unipc"])
def test_a_schedule_that_ends_in_pure_noise_is_kept(scheduler, own_tiny):
    assert own_schedule(json.loads((TINY / "scheduler" / "scheduler_config.json").read_text())) == {}
    edit(own_tiny, "scheduler/scheduler_config.json", rescale_betas_zero_snr=True)
    pipeline = load_pipeline(str(own_tiny), scheduler, CPU, "fp32")
    pipeline.scheduler.set_timesteps(20)
    assert pipeline.scheduler.config.rescale_betas_zero_snr and int(pipeline.scheduler.timesteps[0]) == 999
    assert pipeline.scheduler.alphas_cumprod[-1] < 1e-6
    assert len(set(drawn(pipeline).ravel())) > 50


def test_another_schedule_is_recorded_and_old_sets_without_it_are_not_gone_on_with(own_tiny, tmp_path):
    generated(command(tmp_path / "out", "--model", own_tiny))
    edit(own_tiny, "scheduler/scheduler_config.json", timestep_spacing="trailing", beta_end=0.013)
    next((tmp_path / "out").rglob("0_0/000000.png")).unlink()
    parts = ["schedule None", "'timestep_spacing': 'trailing'", "'beta_end': 0.013"]
    refused(command(tmp_path / "out", "--model", own_tiny), *parts)
    generated(command(tmp_path / "new", "--model", own_tiny))
    generated(command(tmp_path / "new", "--model", own_tiny, per_group=4))
    assert len(images(tmp_path / "new")) == 16


def test_a_size_that_the_model_was_not_trained_for_is_noted(tmp_path):
    done = generated(command(tmp_path, "--size", 32, per_group=1))
    assert "trained to draw 64 pixels, --size is 32" in done.stdout


# ---- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine that answers every question with the status and headers it is given, and an empty cache."""
    given = SimpleNamespace(status=404, headers={})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(given.status)
            for name, value in {"Content-Length": "0", **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    given.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", given.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield given
    server.shutdown()
    server.server_close()


def on_the_hub(folder, monkeypatch):
    """Have the hub offer a folder; returns the patterns of the files that are fetched."""
    listing = [SimpleNamespace(rfilename=str(path.relative_to(folder))) for path in folder.rglob("*.*")]
    asked = []

    def fetch(_, allow_patterns):
        asked.append(allow_patterns)
        return folder

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_: SimpleNamespace(siblings=listing))
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    return asked


INVALID = "Invalid credentials in Authorization header"
HUB = {
    "gated": (403, {"X-Error-Code": "GatedRepo"}, ["asks for a login", "hf auth login"]),
    "withdrawn": (404, {"X-Error-Code": "RepoNotFound"}, ["no such model", "withdrawn", "the default is"]),
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}, ["no such model", "withdrawn"]),
    "token that ran out": (401, {"X-Error-Message": INVALID}, ["refuses yours (401)"]),
    "out of order": (500, {}, ["can't be reached", "500"]),
}


@pytest.mark.parametrize(("status", "headers", "parts"), HUB.values(), ids=HUB)
def test_what_the_hub_answers_is_one_line(status, headers, parts, tmp_path, hub):
    hub.status, hub.headers = status, headers
    refused(command(tmp_path / "out", "--model", "someone/faces"), "someone/faces", *parts)


def test_a_hub_that_does_not_answer_is_one_line(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    parts = ["someone/faces", "can't be reached", "folder or file"]
    refused(command(tmp_path / "out", "--model", "someone/faces"), *parts)


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "none://127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_one_line(address, tmp_path, hub, monkeypatch):
    """For the first the client lacks a package, of the second it has never heard, the third does not answer."""
    monkeypatch.setenv("ALL_PROXY", address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # a new one reads the environment
    parts = ["someone/faces", "can't be reached", "ALL_PROXY is set", "mend or unset it", "folder or file"]
    refused(command(tmp_path / "out", "--model", "someone/faces"), *parts)
    close_session()


FULL = OSError(28, "No space left on device"), RuntimeError("Data processing error: No space left on device (28)")


@pytest.mark.parametrize("error", FULL, ids=["Python", "Rust"])
def test_a_disk_that_fills_while_a_model_is_fetched_is_one_line(error, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("Can't load the model") from error

    on_the_hub(TINY, monkeypatch)
    monkeypatch.setattr("stable_diffusion.loading.pipeline.StableDiffusionPipeline.from_pretrained", full)
    refused(command(tmp_path / "out", "--model", "someone/faces"), "disk is full", "HF_HOME")


def test_nothing_cached_offline_is_one_line_and_a_dry_run_says_that_it_did_not_look(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    flags = ["--model", "someone/faces"]
    refused(command(tmp_path, *flags), "HF_HUB_OFFLINE is set", "someone/faces")
    dry = generated(command(tmp_path, *flags, "--dry-run"))
    assert "not checked: --model someone/faces" in dry.stdout


def test_a_model_that_was_withdrawn_is_taken_from_the_cache(tmp_path, hub):
    hub.headers = {"X-Error-Code": "RepoNotFound"}
    cached = tmp_path / "cache" / "models--someone--faces"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(TINY, cached / "snapshots" / ("0" * 40))
    loaded = load_pipeline("someone/faces", "ddim", CPU, "fp32")
    assert (drawn(loaded) == drawn(load_plain(TINY))).all()


def test_a_hub_model_of_another_kind_is_refused_before_its_weights_are_fetched(tmp_path, monkeypatch, own_tiny):
    edit(own_tiny, "model_index.json", _class_name="FluxFillPipeline")
    asked = on_the_hub(own_tiny, monkeypatch)
    parts = ["someone/flux", "FluxFillPipeline", "FluxPipeline"]
    refused(command(tmp_path / "out", "--model", "someone/flux", "--dry-run"), *parts)
    assert len(asked) == 1 and all(pattern.endswith(".json") for pattern in asked[0])


# ---- images that are none


def scaled(folder, part, name, factor):
    """The weight and bias of one layer larger, in fp32, so that half precision overflows and full does not."""
    path = folder / part / "diffusion_pytorch_model.safetensors"
    weights = {key: tensor.float() for key, tensor in load_file(path).items()}
    weights[f"{name}.weight"] *= factor
    weights[f"{name}.bias"] *= factor
    save_file(weights, path)


OVERFLOWS = {  # a normalization follows the first, so in full precision it changes nothing
    "inside, to nan": ("decoder.mid_block.resnets.0.conv1", 1e5),
    "at its end, to inf": ("decoder.conv_out", 1e5),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "factor"), OVERFLOWS.values(), ids=OVERFLOWS)
def test_where_the_vae_overflows_images_are_decoded_in_full_precision_and_stay_the_same(
    name, factor, own_tiny, tmp_path
):
    scaled(own_tiny, "vae", name, factor)
    flags = ["--model", own_tiny, "--precision", "fp16", "--images-per-cell", 1]
    generated(command(tmp_path / "out", *flags))
    before = images(tmp_path / "out")
    assert len(before) == 4 and min(map(len, before.values())) > 1000
    next((tmp_path / "out").rglob("0_1/000000.png")).unlink()
    generated(command(tmp_path / "out", *flags))
    assert images(tmp_path / "out") == before


def test_that_the_vae_overflows_is_said_once_and_the_images_are_right(own_tiny, capsys):
    _say_once.cache_clear()
    expected = drawn(load_pipeline(str(own_tiny), "ddim", CPU, "fp16"))
    scaled(own_tiny, "vae", *OVERFLOWS["inside, to nan"])
    pipeline = load_pipeline(str(own_tiny), "ddim", CPU, "fp16")
    first, second = drawn(pipeline), drawn(pipeline)
    assert (first == second).all() and abs(first.astype(int) - expected).max() <= 3
    assert pipeline.vae.dtype == torch.float16 and capsys.readouterr().out.count("overflows in fp16") == 1


SPOILED = {
    "UNet in fp16": ("unet", "conv_out", 1e7, "fp16", ["the UNet", "--precision bf16 or fp32", "--outdir"]),
    "UNet in fp32": ("unet", "conv_out", float("inf"), "fp32", ["the UNet", "damaged"]),
    "VAE in fp32": ("vae", "decoder.conv_out", float("nan"), "fp32", ["the VAE", "damaged"]),
    "one colour in fp16": ("vae", "decoder.conv_out", 0, "fp16", ["of one colour", "--precision bf16 or fp32"]),
    "one colour in fp32": ("vae", "decoder.conv_out", 0, "fp32", ["of one colour", "damaged"]),
}


@pytest.mark.parametrize(("part", "name", "factor", "precision", "parts"), SPOILED.values(), ids=SPOILED)
def test_an_image_that_is_none_is_never_written(part, name, factor, precision, parts, own_tiny, tmp_path):
    scaled(own_tiny, part, name, factor)
    flags = ["--model", own_tiny, "--precision", precision]
    refused(command(tmp_path / "out", *flags), *parts)
    assert not images(tmp_path / "out")


class SpottyVae(torch.nn.Module):
    """Decodes latents to themselves, but for one number of the last image in the given precisions."""

    def __init__(self, value, spoils):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
        self.value, self.spoils, self.counts = value, spoils, []

    @property
    def dtype(self):
        return self.weight.dtype

    def decode(self, latents, return_dict):
        self.counts.append(len(latents))
        images = latents.clone()
        if self.dtype in self.spoils:
            images[-1, 0, 0, 0] = self.value
        return (images,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 1, 4, 4)], ids=["images", "videos of one frame"])
def test_a_single_number_that_is_not_finite_is_enough(value, shape):
    latents = torch.linspace(-1, 1, 2 * 3 * 16).reshape(shape).half()
    vae = SpottyVae(value, [torch.float16])
    guard_decoder(SimpleNamespace(vae=vae, unet=vae))
    assert (vae.decode(latents, return_dict=False)[0] == latents.float()).all()
    assert vae.counts == [2, 1] and vae.dtype == torch.float16  # the second image alone, once more
    assert torch.isfinite(vae.decode(latents).sample).all()
    vae.spoils.append(torch.float32)
    assert not torch.isfinite(vae.decode(latents).sample).all()  # render refuses it
