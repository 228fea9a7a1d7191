"""Do generated faces show what their cell asks for? A classifier trained on labelled faces judges them.

    python -m datasets.toy --output results/runs/judge --train 20000 --val 0 --test 2000 --seed 7
    python -m stable_diffusion.judge --data results/runs/judge --images results/runs/toy/synthetic/Smiling_Male/contextual

One ResNet-18 with a logit for each of the two attributes learns from the whole train split of --data (CelebA's layout;
unbiased data judge best), and is tested on its test split: trust it on generated images no further than there. It
prints the share of each cell's images that it judges to be what their cell says. `--judge FILE` saves the trained
network, or uses one saved before.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from datasets.augment import crop_and_resize, random_flips, whole_image_boxes
from datasets.celeba import check_images, image_folder, split_attributes
from datasets.images import decode_images
from datasets.pairs import cell_values, parse_pair
from datasets.synthetic import synthetic_pool
from models.weights import load_tensors
from utils.arguments import choose_device, positive_int
from utils.errors import UserError, command_line
from utils.progress import progress
from utils.seeds import torch_generator


def train_judge(
    pixels: np.ndarray, labels: np.ndarray, *, size: int, epochs: int, lr: float, device, amp: bool, seed: int
):
    """A ResNet-18 from scratch with a logit for each column of `labels`, on whole, mirrored images.

    `pixels` is uint8 (n, height, width, 3), `labels` 0/1 of shape (n, attributes).
    """
    torch.manual_seed(seed)
    generator = torch_generator(seed, "judge")
    model = resnet18(num_classes=labels.shape[1]).to(device, memory_format=torch.channels_last).train()
    batch_size = 128
    steps = epochs * -(-len(pixels) // batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    targets = torch.from_numpy(labels).float()
    with progress(desc="judge", total=steps, unit="batch") as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(pixels), generator=generator).split(batch_size):
                inputs = _inputs(pixels, rows.numpy(), random_flips(len(rows), generator), size, device)
                with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                    logits = model(inputs)
                loss = F.binary_cross_entropy_with_logits(logits.float(), targets[rows].to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval()


@torch.inference_mode()
def verdicts(model: nn.Module, pixels: np.ndarray, *, size: int, device, amp: bool) -> np.ndarray:
    """What the judge takes each image for: 0/1 of shape (n, attributes)."""
    parts = []
    for start in range(0, len(pixels), 256):
        rows = np.arange(start, min(start + 256, len(pixels)))
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            parts.append((model(_inputs(pixels, rows, None, size, device)).sigmoid() >= 0.5).long().cpu())
    return torch.cat(parts).numpy()


def _inputs(pixels, rows, flips, size, device):
    images = torch.from_numpy(pixels[rows]).to(device)
    return crop_and_resize(images, whole_image_boxes(len(rows), *pixels.shape[1:3]), flips, size)


def share_right(found: np.ndarray, asked: np.ndarray, attributes: tuple[str, ...]) -> pd.DataFrame:
    """For each cell of `asked`, the percentage of images whose verdict is right: a column each attribute, and all.

    Both arrays are 0/1 of shape (n, attributes), the target first.
    """
    right = found == asked
    cell = ["".join(map(str, values)) for values in asked]
    table = pd.DataFrame(right, columns=list(attributes)).assign(all=right.all(axis=1), cell=cell)
    table["cell"] = table["cell"].str[0] + "_" + table["cell"].str[1:]
    return (100 * table.groupby("cell").mean()).assign(images=table["cell"].value_counts())


def main() -> None:
    """The command line."""
    args = parse_args()
    device, amp = choose_device(args.device), args.precision == "bf16"
    compute = {"size": args.image_size, "device": device, "amp": amp}
    splits = split_attributes(args.data)
    folder = image_folder(args.data)
    if not args.images.is_dir():
        raise UserError(f"--images {args.images}: no such folder; give <outdir>/<pair>/<prompt type>")
    pair = parse_pair(args.images.resolve().parent.name, splits["train"].columns)
    names = pair.attributes

    def labelled(split):
        table = splits[split]
        if table.empty:
            raise UserError(f"--data {args.data}: its {split} split is empty; the judge needs train and test")
        check_images(folder, table.index)
        return decode_images([folder / n for n in table.index], args.cache), table[list(names)].gt(0).to_numpy(np.int64)

    if args.judge and args.judge.exists():
        model = resnet18(num_classes=len(names))
        load_tensors(model, args.judge, "remove it to train a judge again, or give another --judge")
        model = model.to(device, memory_format=torch.channels_last).eval()
    else:
        pixels, labels = labelled("train")
        settings = {"epochs": args.epochs, "lr": args.lr, **compute}
        model = train_judge(pixels, labels, seed=args.seed, **settings)
        if args.judge:
            args.judge.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, args.judge)
    pixels, labels = labelled("test")
    print(f"the judge on labelled test faces, % right\n{show(model, pixels, labels, names, **compute)}\n")

    pool = synthetic_pool(
        args.images.resolve().parents[1], pair, args.images.name, dict.fromkeys(pair.cells, 1), args.cache
    )
    values = np.array([cell_values(cell) for cell in pair.cells])
    asked = values[pool.target * (len(pair.cells) // 2) + pool.protected]
    print(f"images of {args.images}, % judged as asked\n{show(model, pool.pixels, asked, names, **compute)}")


def show(model, pixels, labels, names, **compute) -> str:
    """The table of `share_right` as text."""
    table = share_right(verdicts(model, pixels, **compute), labels, names)
    return table.to_string(float_format="%.1f")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="labelled faces in CelebA's layout")
    parser.add_argument("--images", type=Path, required=True, help="<outdir>/<pair>/<prompt type> of a generation")
    parser.add_argument("--judge", type=Path, help="file of the trained judge (.safetensors): used, or written")
    parser.add_argument("--epochs", type=positive_int, default=3)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--image-size", type=positive_int, default=64, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--cache", type=Path, default=Path("results/runs/judge_cache"), help="folder for decoded images"
    )
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
