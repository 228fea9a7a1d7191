"""One's own images in a table."""

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
