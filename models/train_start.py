"""Train the initial weights of toy runs in models/start/, which take the place of the paper's ImageNet weights.

    python -m models.train_start --output models/start/toy.safetensors

A narrow ResNet-18 learns to predict four properties of drawn faces: how far the head is turned and tilted, how dark the
skin is, and how far the mouth is open. They are independent of the ten attributes that can be a target or a protected
attribute (`datasets.toy_faces.ATTRIBUTES`). The faces are of another seed than those of a run. The result repeats
exactly on one kind of processor with one number of threads.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from datasets.augment import crop_and_resize, random_boxes, random_flips, resize_whole
from datasets.toy_drawing import draw_face
from datasets.toy_faces import sample_face
from models.classifier import head_names, new_classifier
from models.weights import COUNTER
from utils.arguments import positive_float, positive_int
from utils.errors import UserError, command_line
from utils.files import whole
from utils.progress import progress
from utils.seeds import torch_generator

FACTORS = ("yaw", "roll", "skin", "mouth_open")  # fields of `datasets.toy_faces.Face`
MIRRORED = torch.tensor([-1.0, -1.0, 1.0, 1.0])  # factor of each in a mirrored image
CROP_SCALE = (0.6, 1.0)
BATCH, LR, MOMENTUM, WEIGHT_DECAY = 128, 0.1, 0.9, 5e-4


def drawn_faces(seed: int, number: int) -> tuple[np.ndarray, torch.Tensor]:
    """Draw faces, uint8 (number, 64, 64, 3), and return them with their factors, float32 (number, 4).

    Each factor has mean 0 and variance 1.
    """
    pixels, factors = [], []
    for index in progress(range(number), desc="toy faces", total=number, unit="image"):
        rng = np.random.default_rng([seed, index])
        face = sample_face(rng)
        pixels.append(np.asarray(draw_face(face, rng)))
        factors.append([getattr(face, name) for name in FACTORS])
    factors = torch.tensor(factors)
    return np.stack(pixels), (factors - factors.mean(0)) / factors.std(0)


def train_start(
    pixels: np.ndarray, factors: torch.Tensor, *, width: float, size: int, epochs: int, seed: int
) -> nn.Module:
    """Train a ResNet-18 with an output for each factor, on random and mirrored crops of `size` pixels a side."""
    model = new_classifier("none", seed, width)
    model.fc = nn.Linear(model.fc.in_features, factors.shape[1])
    model = model.to(memory_format=torch.channels_last).train()
    generator = torch_generator(seed, "start")
    steps = epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    with progress(desc="start", total=steps, unit="batch") as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(pixels), generator=generator)[: steps // epochs * BATCH].split(BATCH):
                boxes = random_boxes(BATCH, *pixels.shape[1:3], generator, scale=CROP_SCALE)
                flips = random_flips(BATCH, generator)
                inputs = crop_and_resize(torch.from_numpy(pixels[rows.numpy()]), boxes, flips, size)
                wanted = torch.where(flips[:, None], MIRRORED, torch.ones(1)) * factors[rows]
                loss = F.mse_loss(model(inputs), wanted)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


@torch.inference_mode()
def explained(model: nn.Module, pixels: np.ndarray, factors: torch.Tensor, size: int) -> dict[str, float]:
    """Return the explained fraction of each factor's variance on whole images; 1 is best."""
    found = torch.cat([model(resize_whole(block, size)) for block in torch.from_numpy(pixels).split(BATCH)])
    left = (found - factors).square().mean(0) / factors.var(0, unbiased=False)
    return dict(zip(FACTORS, (1 - left).tolist(), strict=True))


def save_start(model: nn.Module, path: Path) -> None:
    """Write all tensors except the last layer, in half precision."""
    left_out = head_names(model, "resnet18")
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(left_out)}
    kept = {name: tensor.half().contiguous() for name, tensor in kept.items() if not name.endswith(COUNTER)}
    with whole(path) as unfinished:
        unfinished.write_bytes(save(kept, {"learned": ", ".join(FACTORS)}))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write, in half precision")
    parser.add_argument("--faces", type=positive_int, default=12000, help="faces to learn from (default: 12000)")
    parser.add_argument("--test-faces", type=positive_int, default=1000, help="faces to report on (default: 1000)")
    parser.add_argument("--epochs", type=positive_int, default=12, help="default: 12")
    parser.add_argument(
        "--width", type=positive_float, default=0.25, help="fraction of ResNet-18's channels (default: 0.25)"
    )
    parser.add_argument("--image-size", type=positive_int, default=48, help="pixels a side (default: 48)")
    parser.add_argument("--seed", type=int, default=2000, help="seed of the faces and of training (default: 2000)")
    args = parser.parse_args()
    if args.faces < BATCH:
        raise UserError(f"--faces {args.faces}: give at least one batch, {BATCH}")
    pixels, factors = drawn_faces(args.seed, args.faces + args.test_faces)
    test = slice(args.faces, None)
    options = {"width": args.width, "size": args.image_size, "epochs": args.epochs, "seed": args.seed}
    model = train_start(pixels[: args.faces], factors[: args.faces], **options)
    fractions = explained(model, pixels[test], factors[test], args.image_size)
    print(
        "explained variance of other faces:",
        ", ".join(f"{name} {fraction:.2f}" for name, fraction in fractions.items()),
    )
    save_start(model, args.output)
    print(f"wrote {args.output}, {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    command_line(main)
