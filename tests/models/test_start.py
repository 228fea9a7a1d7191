"""The weights to start from on toy faces, and the script that trains them."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import assert_one_line_error, run_here

from datasets.images import LabelledImages
from datasets.toy_drawing import draw_face
from datasets.toy_faces import ATTRIBUTES, sample_face
from models import train_start
from models.batches import Compute
from models.classifier import START, new_classifier
from models.schedule import Schedule
from models.train_start import FACTORS, MIRRORED
from models.training import fit
from utils.errors import UserError
from utils.seeds import torch_generator

FILE, WIDTH = START["toy"]
COMPUTE = Compute(torch.device("cpu"), False, 48, 16, crop_scale=(0.6, 1.0))


def drawn(seed, n):
    """Toy faces with Smiling and Male, which are independent of each other."""
    faces, pixels = [], []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        faces.append(sample_face(rng))
        pixels.append(np.asarray(draw_face(faces[-1], rng)))
    target, protected = (np.array([getattr(face, name) for face in faces]).astype(int) for name in ("smiling", "male"))
    return LabelledImages(np.stack(pixels), np.arange(n), target, protected, tuple(map(str, range(n))))


@pytest.mark.slow
def test_a_few_steps_from_the_start_weights_learn_more_than_from_none():
    data, val = drawn(7, 320), drawn(8, 64)

    def last_loss(weights):
        model = new_classifier(weights, 1, WIDTH).to(memory_format=torch.channels_last)
        schedule = Schedule(4, 0.02, 1e-4, (9,))
        return fit(model, data, val, schedule, COMPUTE, generator=torch_generator(1), label=weights)[-1]["loss"]

    assert last_loss("toy") < last_loss("none") - 0.1


def test_they_learned_nothing_that_can_be_a_target_or_a_protected_attribute():
    assert not {name.lower() for name in FACTORS} & {name.lower() for name in ATTRIBUTES}
    rng = np.random.default_rng(0)
    faces = [sample_face(rng) for _ in range(4000)]
    factors = np.array([[getattr(face, name) for name in FACTORS] for face in faces])
    attributes = np.array([list(face.attributes().values()) for face in faces])
    correlation = np.corrcoef(factors.T, attributes.T)[: len(FACTORS), len(FACTORS) :]
    assert np.abs(correlation).max() < 0.06


def test_the_last_layer_is_the_seeds_own_and_all_else_the_files():
    first, other = (new_classifier("toy", seed, WIDTH).state_dict() for seed in (1, 2))
    kept = load_file(FILE)
    assert not [name for name in kept if name.startswith("fc.")] and FILE.stat().st_size < 2e6
    assert all(torch.equal(first[name], tensor.float()) for name, tensor in kept.items())
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("options", [{}, {"width": 0.125}, {"width": WIDTH, "network": "mobilenet_v2"}])
def test_another_network_is_refused_in_one_line(options):
    with pytest.raises(UserError, match="--network resnet18 --width 0.25 alone; give --weights none or a file"):
        new_classifier("toy", 0, **options)


def test_the_script_writes_the_same_file_twice_that_training_can_start_from(tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    flags = ["--faces", 128, "--epochs", 1, "--test-faces", 8, "--width", 0.125, "--image-size", 32]
    for file in files:
        done = run_here(train_start.main, "--output", file, *flags)
        assert done.returncode == 0, done.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    new_classifier(str(files[0]), 0, 0.125)
    assert_one_line_error(run_here(train_start.main, "--output", files[0], *flags, "--faces", 127), "--faces 127")


def test_in_the_mirror_only_turn_and_tilt_change_their_sign():
    assert dict(zip(FACTORS, MIRRORED.tolist())) == {"yaw": -1, "roll": -1, "skin": 1, "mouth_open": 1}
