"""The flags for synthetic images that differ much from the real ones; left out, all is as in the paper."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support import assert_one_line_error, run_here
from support.small import TINY, record, trained
from support.training import COMPUTE, bright_and_dark, generator, small_net
from torch import nn

import train
from datasets.decoding import decode_images
from datasets.images import LabelledImages
from models.averaging import STATISTICS_BATCHES
from models.batches import train_batches
from models.run import Run
from models.schedule import Schedule
from models.training import fit
from utils.errors import UserError
from utils.seeds import torch_generator

SCHEDULE = Schedule(epochs=2, lr=0.1, weight_decay=0.1, milestones=(5,))
STATISTICS = ("1.running_mean", "1.running_var")


def fitted(**options):
    model, data = small_net(), bright_and_dark()
    fit(model, data, data, SCHEDULE, COMPUTE, generator=generator(), label="test", **options)
    return model.state_dict()


def test_held_statistics_stay_and_normalise():
    before, held = small_net().state_dict(), fitted(hold_statistics=True)
    assert all(torch.equal(held[name], before[name]) for name in STATISTICS)
    assert not torch.equal(held["0.weight"], before["0.weight"])
    # a plain loop of a network in eval mode, which has no dropout that could differ
    model, data = small_net().eval(), bright_and_dark()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    draws, states = generator(), []
    for _ in range(SCHEDULE.epochs):
        for batch in train_batches(data, COMPUTE, draws):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], batch.targets).backward()
            optimizer.step()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert any(all(torch.allclose(held[name], state[name], atol=1e-6) for name in held) for state in states)


def test_statistics_of_real_images_are_those_of_a_pass_over_them():
    real, darker = bright_and_dark(n=COMPUTE.batch_size * (STATISTICS_BATCHES + 5)), bright_and_dark()
    darker = LabelledImages(darker.pixels // 3, darker.rows, darker.target, darker.protected, darker.names)
    run = Run(SimpleNamespace(compute=COMPUTE), {"train": real}, 3, None)
    model = small_net()
    fit(model, darker, darker, SCHEDULE, COMPUTE, generator=generator(), label="test", before_val=run._real_statistics)
    batches = [batch.inputs for batch in train_batches(real, COMPUTE, torch_generator(3, "statistics"))]
    with torch.inference_mode():
        features = [model[0](inputs) for inputs in batches[:STATISTICS_BATCHES]]
    means = torch.stack([part.mean(dim=(0, 2, 3)) for part in features]).mean(dim=0)
    torch.testing.assert_close(model[1].running_mean, means)
    assert model[1].momentum == 0.1  # what comes after moves as before


def faces(tmp_path):
    """Four images, red but for a blue box of known place."""
    pixels = np.zeros((20, 10, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    pixels[5:15, 2:8] = 0, 0, 255
    for number in range(4):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(4)]


def test_a_crop_takes_that_part_of_an_image_and_is_cached_apart(tmp_path):
    paths, box = faces(tmp_path), (0.2, 0.25, 0.8, 0.75)
    whole = decode_images(paths, tmp_path / "cache")
    assert whole.shape == (4, 20, 10, 3) and whole[:, :, :, 0].any()
    cropped = decode_images(paths, tmp_path / "cache", box=box)
    assert cropped.shape == (4, 10, 6, 3) and (cropped == [0, 0, 255]).all()
    resized = decode_images(paths, tmp_path / "cache", 8, box)
    assert resized.shape == (4, 8, 8, 3) and (resized == [0, 0, 255]).all()
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


@pytest.mark.parametrize("box", [("0.6", "0", "0.5", "1"), ("0", "0.5", "1", "0.5"), ("0", "0", "1", "1.5")])
def test_an_impossible_crop_is_one_line(box, toy, tmp_path):
    flags = ["--real-data-path", toy, "--output", tmp_path, "--real-crop", *box]
    assert_one_line_error(run_here(train.main, *flags), "real-crop")


def test_a_crop_that_leaves_no_pixel_is_one_line(tmp_path):
    with pytest.raises(UserError, match="10x20 pixels: --real-crop leaves none"):
        decode_images(faces(tmp_path), tmp_path / "cache", 8, (0.5, 0, 0.51, 1))


@pytest.mark.slow
def test_statistics_of_a_network_without_batch_norm_are_refused(toy, tmp_path):
    flags = ["--real-data-path", toy, "--output", tmp_path, "--network", "vit_b_16", "--image-size", 32]
    for norm in ("hold", "real"):
        done = run_here(train.main, *flags, "--weights", "none", "--batch-norm", norm)
        assert_one_line_error(done, f"--batch-norm {norm}: vit_b_16 has no batch norm")


def test_flags_are_in_the_record_only_where_they_differ_from_the_paper(toy, synthetic, tmp_path):
    more = ["--batch-norm", "hold", "--fine-tune-batch-size", 4, "--real-crop", 0.1, 0.1, 0.9, 0.9]
    for output, flags in (("plain", []), ("changed", more)):
        trained(toy, synthetic, tmp_path / output, *TINY, "--methods", "full", *flags)
    plain, changed = (record(tmp_path / output, "full")["settings"] for output in ("plain", "changed"))
    keys = {"batch_norm": "hold", "fine_tune_batch_size": 4}
    assert not keys.keys() & plain.keys() and keys.items() <= changed.items()
    assert changed["biased_model"]["real_crop"] == [0.1, 0.1, 0.9, 0.9] and "real_crop" not in plain["biased_model"]
