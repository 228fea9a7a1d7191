"""Write a list of the training images that are not in the biased list, to use them in place of generated images."""

from pathlib import Path

from datasets.celeba import group_names, numbers
from datasets.real import read_real, training_list
from utils.files import write_whole


def write_rest(
    dataset: str, folder: Path, pair: str, size: int | str, path: Path, *, bias_degree: str = "1/9", values: tuple = ()
) -> dict[str, int]:
    """Write a CSV file, for --synthetic-data-root, of the training images that are not in the biased list; return each group's number.

    size : of the biased list, as `datasets.real.training_list` takes it
    values : the entries of --values

    A link to the images' folder is made beside the file, because train.py reads only below it.
    """
    found, images = read_real(dataset, folder, pair, values=values), path.parent / "images"
    biased = training_list(found.tables["train"], found.pair, size, bias_degree)
    rest = found.tables["train"].drop(index=biased.index)
    values_of = found.pair.values_of.items()
    table = rest[[]].assign(**{name: [each[n] for n in numbers(rest[name], each)] for name, each in values_of})
    table.index = [f"{images.name}/{image}" for image in table.index]
    path.parent.mkdir(parents=True, exist_ok=True)
    images.unlink(missing_ok=True)
    images.symlink_to(found.folder.resolve(), target_is_directory=True)
    write_whole(path, table.to_csv(index_label="image"))
    counts = group_names(rest, found.pair).value_counts()
    return {group: int(counts.get(group, 0)) for group in found.pair.groups}
