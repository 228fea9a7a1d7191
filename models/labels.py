"""Uses of the protected labels of real images, by split, as functions of a method's options.

A method that uses such labels declares one of these functions (`models.facts`). Records keep its result.
"""

EPOCH = {"val": "chooses its epoch by protected labels of val"}


def epoch_as_published(options: dict) -> dict[str, str]:
    """Return the uses of a method whose published protocol chooses the epoch by the worst group of val."""
    return EPOCH if options.get("protocol") == "published" else {}


def trains_on_groups(options: dict) -> dict[str, str]:
    """Return the uses of a method that trains on the groups, and whose published protocol chooses the epoch by them."""
    return {"train": "trains on protected labels"} | epoch_as_published(options)


def counts_groups(options: dict) -> dict[str, str]:
    """Return the uses of a method that needs the number of train images of each group."""
    return {"train": "counts protected labels of train"}


def none(options: dict) -> dict[str, str]:
    """Return no uses."""
    return {}


def labels_taken(taken, options: dict, select_by: str) -> dict[str, str]:
    """Return a method's uses under --select-by; `taken` is its function, names in `options` have underscores."""
    return taken(options) | (EPOCH if select_by == "worst-group" else {})
