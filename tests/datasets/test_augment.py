import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from datasets import augment
from datasets.augment import crop_and_resize, random_boxes, random_flips, resize_whole, whole_image_boxes


def photograph(height, width, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=int)
    return (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "size"), [(109, 89, 64), (218, 178, 224), (64, 64, 48), (20, 30, 33)])
def test_agrees_with_torchvision_on_pillow_images(height, width, size):
    images = [photograph(height, width, seed) for seed in range(8)]
    generator = torch.Generator().manual_seed(0)
    boxes, flips = random_boxes(8, height, width, generator), random_flips(8, generator)
    ours = crop_and_resize(torch.from_numpy(np.stack(images)), boxes, flips, size)
    for image, (top, left, h, w), flip, result in zip(images, boxes.tolist(), flips, ours):
        expected = TF.resized_crop(Image.fromarray(image), top, left, h, w, [size, size])
        expected = TF.normalize(TF.to_tensor(TF.hflip(expected) if flip else expected), [0.5] * 3, [0.5] * 3)
        # Pillow rounds to whole grey levels twice, once for each direction
        assert (result - expected).abs().max() <= 1.01 / 127.5


def test_test_transform_does_not_keep_the_aspect():
    image = photograph(109, 89)
    ours = crop_and_resize(torch.from_numpy(image[None]), whole_image_boxes(1, 109, 89), None, 64)
    expected = TF.to_tensor(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)) * 2 - 1
    assert (ours[0] - expected).abs().max() <= 1.01 / 127.5


def test_boxes_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    image = torch.zeros(3, 109, 89)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    theirs = torch.tensor(theirs, dtype=torch.float)
    ours = random_boxes(3000, 109, 89, torch.Generator().manual_seed(1)).float()
    for quantile in (0.1, 0.5, 0.9):
        gap = (ours.quantile(quantile, 0) - theirs.quantile(quantile, 0)).abs()
        assert (gap <= 4).all(), (quantile, gap)


def test_each_image_has_its_own_crop_inside_the_image():
    boxes = random_boxes(200, 50, 40, torch.Generator().manual_seed(0))
    assert len(boxes.unique(dim=0)) > 150
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 50).all() and (boxes[:, 1] + boxes[:, 3] <= 40).all()


def test_image_too_narrow_for_any_crop_gets_the_central_one():
    boxes = random_boxes(5, 200, 4, torch.Generator().manual_seed(0), scale=(0.9, 1.0))
    assert boxes.tolist() == [[(200 - 5) // 2, 0, 5, 4]] * 5


def test_images_of_the_right_size_are_scaled_alone_and_come_out_the_same():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8))
    scaled, resized = resize_whole(images, 48), crop_and_resize(images, whole_image_boxes(3, 48, 48), None, 48)
    torch.testing.assert_close(scaled, resized, atol=1e-6, rtol=0)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width", "size"), [(218, 178, 64), (109, 89, 112), (64, 64, 48)])
def test_a_batch_in_blocks_is_the_batch_to_the_bit(monkeypatch, height, width, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (37, height, width, 3), dtype=torch.uint8, generator=generator)
    boxes, flips = random_boxes(37, height, width, generator), random_flips(37, generator)
    in_blocks = [crop_and_resize(images, boxes, flips, size)]
    monkeypatch.setattr(augment, "BLOCK", 4 * 12 * max(height, size) * max(width, size))  # four images, at last one
    in_blocks.append(crop_and_resize(images, boxes, flips, size))
    monkeypatch.setattr(augment, "BLOCK", 2**40)
    whole = crop_and_resize(images, boxes, flips, size)
    for found in in_blocks:
        assert torch.equal(found, whole) and found.is_contiguous(memory_format=torch.channels_last)
