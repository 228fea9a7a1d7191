"""Draw the first images of each group on one sheet, to see at a glance what was generated."""

from pathlib import Path

from PIL import Image, ImageDraw

from datasets.reading import read_image
from datasets.synthetic_files import image_files
from prompts import Prompts

COLUMNS, ROWS, GAP, TITLE = 10, 5, 2, 24


def contact_sheet(folder: Path, title: str, size: int) -> Image.Image:
    """Draw the first images of a folder in a grid under a title, each `size` pixels a side.

    Raises `UserError` for an image that cannot be read.
    """
    return sheet_of(image_files(folder), title, size)


def sheet_of(files: list[Path], title: str, size: int, captions: list[str] | None = None) -> Image.Image:
    """Draw the first of some images in a grid under a title, each `size` pixels a side, with a caption in its corner."""
    files = files[: COLUMNS * ROWS]
    rows = -(-len(files) // COLUMNS)
    step = size + GAP
    sheet = Image.new("RGB", (COLUMNS * step, TITLE + rows * step), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 4), title, fill="black", font_size=14)
    for index, path in enumerate(files):
        tile = read_image(path).resize((size, size), Image.Resampling.LANCZOS)
        corner = (index % COLUMNS) * step, TITLE + (index // COLUMNS) * step
        sheet.paste(tile, corner)
        if captions:
            draw.text(corner, captions[index], fill="white", stroke_width=1, stroke_fill="black", font_size=11)
    return sheet


def write_contact_sheets(folder: Path, prompts: Prompts, size: int) -> list[Path]:
    """Write `contact_sheet_<group>.png` for each group of a generated set; return the paths."""
    paths = []
    for group in prompts.groups:
        head = ", ".join(words[0] for words in prompts.own_words(group).values())
        paths.append(folder / f"contact_sheet_{group}.png")
        contact_sheet(folder / group, f"{prompts.pair} {group}: {head}", min(size, 128)).save(paths[-1])
    return paths
