"""Random resized crop, flip and scaling on the device, with a crop of its own for each image.

Crops are drawn as by torchvision's `RandomResizedCrop.get_params`. The resize is Pillow's bilinear filter, which
averages over all source pixels when it shrinks, as two matrix products for each image. So one call serves a batch of
different crops.
"""

import math

import torch

from utils.errors import UserError

MEAN, STD = 0.5, 0.5
ATTEMPTS = 10
BLOCK = 2**23  # bytes of images that a CPU works on at once: twice as fast as a batch that its cache can't hold


def random_boxes(
    n: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """Draw crops as torchvision's RandomResizedCrop does: int64 (n, 4), rows (top, left, height, width).

    scale : range of the crop's area, uniform, as a fraction of the image's
    ratio : range of width / height, whose logarithm is uniform

    The first of ten attempts that fits is taken, else the largest central crop within `ratio`.
    """
    area = height * width * torch.empty(n, ATTEMPTS).uniform_(*scale, generator=generator)
    aspect = torch.exp(torch.empty(n, ATTEMPTS).uniform_(math.log(ratio[0]), math.log(ratio[1]), generator=generator))
    w, h = torch.sqrt(area * aspect).round().long(), torch.sqrt(area / aspect).round().long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]

    w_centre = width if width / height <= ratio[1] else round(height * ratio[1])
    h_centre = height if width / height >= ratio[0] else round(width / ratio[0])
    place = torch.rand(n, 2, generator=generator)
    top, left = (place[:, 0] * (height - h + 1)).long(), (place[:, 1] * (width - w + 1)).long()
    none = ~fits.any(1)
    w[none], h[none], top[none], left[none] = w_centre, h_centre, (height - h_centre) // 2, (width - w_centre) // 2
    return torch.stack([top, left, h, w], 1)


def random_flips(n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw which images to mirror, each with probability one half: bool (n,)."""
    return torch.rand(n, generator=generator) < 0.5


def whole_image_boxes(n: int, height: int, width: int) -> torch.Tensor:
    """Return the box of the whole image n times, for the test transform, which does not keep the aspect ratio."""
    return torch.tensor([0, 0, height, width]).expand(n, 4)


def resize_whole(images: torch.Tensor, size: int) -> torch.Tensor:
    """Apply the test transform to uint8 (n, height, width, 3): `crop_and_resize` of whole images.

    Images that already have `size` pixels a side, as in evaluation sets, are only scaled.
    """
    n, height, width, _ = images.shape
    if (height, width) == (size, size):
        return _scale(images.permute(0, 3, 1, 2).float())
    return crop_and_resize(images, whole_image_boxes(n, height, width), None, size)


def crop_and_resize(images: torch.Tensor, boxes: torch.Tensor, flips: torch.Tensor | None, size: int) -> torch.Tensor:
    """Cut, mirror, resize and scale a batch: float32 (n, 3, size, size), -1 to 1, channels last in memory.

    images : uint8 (n, height, width, 3)
    boxes : int64 (n, 4), rows (top, left, height, width)
    flips : bool (n,), images to mirror; None: no image
    size : pixels a side of the result
    """
    n, height, width, _ = images.shape
    most = n if images.device.type != "cpu" else max(1, BLOCK // (12 * max(height, size) * max(width, size)))
    if n <= most:
        return _crop_block(images, boxes, flips, size)
    result = torch.empty((n, 3, size, size), memory_format=torch.channels_last)
    for part in map(slice, range(0, n, most), range(most, n + most, most)):
        result[part] = _crop_block(images[part], boxes[part], None if flips is None else flips[part], size)
    return result


def _crop_block(images: torch.Tensor, boxes: torch.Tensor, flips: torch.Tensor | None, size: int) -> torch.Tensor:
    n, height, width, _ = images.shape
    boxes = boxes.to(images.device)
    down = _resize_weights(boxes[:, 0], boxes[:, 2], height, size)  # (n, size, height)
    across = _resize_weights(boxes[:, 1], boxes[:, 3], width, size)  # (n, size, width)
    if flips is not None:
        across = torch.where(flips.to(images.device)[:, None, None], across.flip(1), across)
    rows = torch.bmm(down, images.reshape(n, height, width * 3).float())  # (n, size, width * 3)
    columns = rows.reshape(n, size, width, 3).transpose(1, 2).reshape(n, width, size * 3)
    result = torch.bmm(across, columns).reshape(n, size, size, 3)  # (n, x, y, 3)
    return _scale(result.permute(0, 3, 2, 1))


def _scale(images: torch.Tensor) -> torch.Tensor:
    """Scale grey levels, (n, 3, size, size), to -1 to 1, channels last in memory."""
    return ((images / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def _resize_weights(start: torch.Tensor, length: torch.Tensor, full: int, size: int) -> torch.Tensor:
    """Return Pillow's bilinear filter as matrices (n, size, full): a triangle of width max(scale, 1)."""
    device = start.device
    scale = (length.float() / size)[:, None, None]
    centre = (torch.arange(size, device=device)[None, :, None] + 0.5) * scale
    place = torch.arange(full, device=device)[None, None, :] - start[:, None, None]
    weights = (1 - (place + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((place >= 0) & (place < length[:, None, None]))
    return weights / weights.sum(2, keepdim=True)


def check_crops(scale: tuple[float, float], box: tuple[float, float, float, float]) -> None:
    """Raise `UserError` for values of --crop-scale or --real-crop that leave no image."""
    low, high = scale
    if not 0 < low <= high <= 1:
        raise UserError(
            f"--crop-scale {low:g} {high:g}: expected two numbers above 0 and at most 1, the smaller one first"
        )
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        text = f"{left:g} {top:g} {right:g} {bottom:g}"
        raise UserError(f"--real-crop {text}: expected LEFT below RIGHT and TOP below BOTTOM, from 0 to 1")
