"""One's own images in a table, and UTKFace."""

import pandas as pd
import pytest
from support.noise import save


@pytest.fixture
def own(tmp_path):
    """24 images of several sizes, one table; the protected attribute is unknown in train."""
    rows = []
    for i in range(24):
        split = ("train", "val", "test")[i // 8]
        name = f"{split}_{i}.png"
        save(tmp_path / name, i, size=(5 + i % 3, 6))
        rows.append({"image": name, "split": split, "Cat": i % 2, "Bright": "" if split == "train" else i // 2 % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@pytest.fixture
def utkface(tmp_path):
    """40 images a group, ages 1 to 40, and what the real data set has of oddities."""
    number = 0
    for gender in (0, 1):
        for race in (0, 1):
            for age in range(1, 41):
                save(tmp_path / f"{age}_{gender}_{race}_{20170116000000000 + number}.jpg.chip.jpg", number)
                number += 1
    for odd in ("39_1_20170116174525125.jpg.chip.jpg", "24_0_1_20170116220224657 .jpg.chip.jpg"):
        save(tmp_path / odd, number)
    first = tmp_path / "1_0_0_20170116000000000.jpg.chip.jpg"
    (tmp_path / "9_1_1_20180000000000000.jpg.chip.jpg").write_bytes(first.read_bytes())
    return tmp_path
