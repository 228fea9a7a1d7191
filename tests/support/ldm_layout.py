"""Names that tensors have in single files of Stable Diffusion, for a pipeline in diffusers' layout: to make such files."""

import torch

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
}
MIDDLE = {("resnets", "0"): "0", ("attentions", "0"): "1", ("resnets", "1"): "2"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str, layers: int, with_attention: set[str]) -> str:
    """The name of a UNet's tensor; `layers` in each block, `with_attention` the blocks ("up_blocks.1") that have it."""
    for ours, theirs in ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs)
    if name.startswith("mid_block."):
        _, kind, index, rest = name.split(".", 3)
        return f"middle_block.{MIDDLE[kind, index]}.{_inner(kind, rest)}"
    side, block, kind, index, rest = name.split(".", 4)
    up, block, index = side == "up_blocks", int(block), int(index)
    place = f"{'output' if up else 'input'}_blocks"
    if kind == "downsamplers":
        return f"{place}.{(layers + 1) * (block + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        after = 2 if f"up_blocks.{block}" in with_attention else 1
        return f"{place}.{(layers + 1) * block + layers}.{after}.{rest}"
    number = (layers + 1) * block + index + (not up)
    return f"{place}.{number}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    part, _, end = rest.partition(".")
    return f"{RESNET[part]}.{end}" if kind == "resnets" else rest


def vae_name(name: str, blocks: int) -> str:
    """The name of a VAE's tensor."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for index in range(2):
        name = name.replace(f"mid_block.resnets.{index}", f"mid.block_{index + 1}")
    if "mid_block.attentions" in name:
        for ours, theirs in ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        return name.replace("mid_block.attentions.0", "mid.attn_1")
    parts = name.split(".")
    if parts[1] in ("down_blocks", "up_blocks"):
        if parts[1] == "up_blocks":
            parts[2] = str(blocks - 1 - int(parts[2]))
        kind = {"resnets": ["block", parts[4]], "downsamplers": ["downsample"], "upsamplers": ["upsample"]}[parts[3]]
        parts[1:5] = [parts[1].removesuffix("_blocks"), parts[2], *kind]
    return ".".join(parts)


def open_clip(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a text encoder in OpenCLIP's names, with query, key and value in one."""
    weights, named = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}, {}
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    inner |= {"self_attn.out_proj": "attn.out_proj"}
    for layer in layers:
        for end in ("weight", "bias"):
            start = f"encoder.layers.{layer}"
            parts = [weights[f"{start}.self_attn.{part}_proj.{end}"] for part in "qkv"]
            named[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(parts)
            for ours, theirs in inner.items():
                named[f"transformer.resblocks.{layer}.{theirs}.{end}"] = weights[f"{start}.{ours}.{end}"]
    for end in ("weight", "bias"):
        named[f"ln_final.{end}"] = weights[f"final_layer_norm.{end}"]
    named["positional_embedding"] = weights["embeddings.position_embedding.weight"]
    named["token_embedding.weight"] = weights["embeddings.token_embedding.weight"]
    width = named["ln_final.weight"].shape[0]
    return named | {"text_projection": torch.eye(width), "logit_scale": torch.tensor(4.6)}


def single_file(pipeline, kind: str) -> dict[str, torch.Tensor]:
    """All tensors of a pipeline as a single file of Stable Diffusion 1.x ("sd1") or 2.x ("sd2") has them."""
    named = named_unet(pipeline.unet) | named_vae(pipeline.vae)
    text = pipeline.text_encoder.state_dict()
    if kind == "sd2":
        named |= {f"cond_stage_model.model.{name}": tensor for name, tensor in open_clip(text).items()}
    else:
        for name, tensor in text.items():
            named[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    return {name: tensor.contiguous() for name, tensor in named.items()}


def named_unet(unet) -> dict[str, torch.Tensor]:
    """A UNet's tensors, named as in a single file."""
    weights = unet.state_dict()
    with_attention = {".".join(name.split(".")[:2]) for name in weights if ".attentions." in name}
    return {
        f"model.diffusion_model.{unet_name(name, unet.config.layers_per_block, with_attention)}": tensor
        for name, tensor in weights.items()
    }


def named_vae(vae) -> dict[str, torch.Tensor]:
    """A VAE's tensors, named as in a single file; its attention is made of convolutions there."""
    named = {}
    for name, tensor in vae.state_dict().items():
        if ".attentions." in name and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        named[f"first_stage_model.{vae_name(name, len(vae.config.block_out_channels))}"] = tensor
    return named
