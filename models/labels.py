"""Uses of the protected labels of real images, by split, as functions of a method's options.

A method that uses any declares such a function (`models.facts`). Records keep what the function returns.
"""

EPOCH = {"val": "chooses its epoch by protected labels of val"}


def epoch_as_published(options: dict) -> dict[str, str]:
    """For a method whose published protocol chooses the epoch by the worst group of val."""
    return EPOCH if options.get("protocol") == "published" else {}


def trains_on_groups(options: dict) -> dict[str, str]:
    """For a method that trains on the groups, and whose published protocol also chooses the epoch by them."""
    return {"train": "trains on protected labels"} | epoch_as_published(options)


def counts_groups(options: dict) -> dict[str, str]:
    """For a method that needs to know how many images each group of train has."""
    return {"train": "counts protected labels of train"}


def none(options: dict) -> dict[str, str]:
    """For a method that takes no protected labels."""
    return {}


def labels_taken(taken, options: dict, select_by: str) -> dict[str, str]:
    """Return the uses under `--select-by`; `taken` is the method's function, `options` have underscores."""
    return taken(options) | (EPOCH if select_by == "worst-group" else {})
