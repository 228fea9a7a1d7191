"""What the numbers say, in three sentences: whether the gap closed, at what cost, and how far that can be trusted."""

from collections.abc import Iterable

from results.columns import Column
from results.entries import Entry
from results.remarks import ALIKE
from results.report.drawings import quoted
from results.summary import erm_warning, not_learned


def sentences(
    column: Column,
    entries: dict[str, Entry],
    method: str | None,
    common: Iterable[Entry] = (),
    seeds: Iterable[int] = (),
) -> list[str]:
    """Three sentences on `method` against ERM; where there is no such method (None), on ERM alone.

    `entries` are the rows by name, in percent. `common` are those of ERM and the method from the `seeds` that both have, of
    which a sentence tells if one has more; without them the levels are of all seeds.
    """
    if method is None or "erm" not in entries:
        return _alone(column, next(iter(entries.values())))
    both = {row: entries[row] for row in ("erm", method)}
    pair = both | {entry.row: entry for entry in common}
    erm, after = pair["erm"], pair[method]
    said = [_odds(erm, after), _accuracy(erm, after), _trust(column, entries, after)]
    if [entry.n for entry in both.values()] == [erm.n, after.n]:
        return said
    names = f"seed{'s' if after.n > 1 else ''} {', '.join(map(str, seeds))}"
    return [f"What follows is from {names}, which both ERM and {quoted(method)} have.", *said]


def is_blind(entry: Entry) -> bool:
    """Whether a row has runs whose equalized odds say nothing."""
    return any(text.endswith(ALIKE) for text in entry.said or ())


def warning(column: Column) -> str:
    """If ERM has hardly learned its task or is hardly biased: what `results.summary` says, and what follows; else ""."""
    return erm_warning(
        _of_erm(column), " So the numbers below show that the software runs, and say nothing of the methods."
    )


def _of_erm(column: Column) -> list[dict]:
    return [record["metrics"] for record in column.runs("erm").values()]


def _odds(erm: Entry, after: Entry) -> str:
    name, before, now = quoted(after.row), erm.ours["EO"][0], after.ours["EO"][0]
    what = "equalized odds, the larger gap in error rates between the groups,"
    values = f"from {before:.1f} % to {now:.1f} %"
    if is_blind(after):
        return f"With {name} {what} went {values}, which says nothing: {'; '.join(after.said)}."
    if "EO" not in after.change:
        return f"With {name} {what} went {values}; there is no interval for that (no seed in common, or a group of one image)."
    _, low, high = after.change["EO"]
    if high < 0:
        return f"{name} lowered {what} {values} ({_interval(after, 'EO')})."
    if low > 0:
        return f"{name} did not help: it raised {what} {values} ({_interval(after, 'EO')})."
    return (
        f"With {name} {what} went {values} ({_interval(after, 'EO')}), but the interval holds 0: these runs alone don't show "
        "that it helped."
    )


def _accuracy(erm: Entry, after: Entry) -> str:
    values = f"{erm.ours['ACC'][0]:.1f} % to {after.ours['ACC'][0]:.1f} %"
    worst = f"that of the worst group from {erm.ours['WST'][0]:.1f} % to {after.ours['WST'][0]:.1f} %"
    if "ACC" not in after.change:
        return f"Accuracy went from {values}, and {worst}."
    _, low, high = after.change["ACC"]
    verdict = "rose" if low > 0 else "fell" if high < 0 else "shows no clear change,"
    told = f" ({_interval(after, 'WST')})" if "WST" in after.change else ""
    return f"Accuracy {verdict} from {values} ({_interval(after, 'ACC')}), and {worst}{told}."


def _trust(column: Column, entries: dict[str, Entry], after: Entry) -> str:
    images = sum(column.records[0]["metrics"]["group_count"].values())
    seeds, method = after.n, after.row
    if not_learned(_of_erm(column)):
        return (
            "Neither says anything of the method, because ERM, which it is compared with, has hardly learned its task."
        )
    if seeds == 1:
        return (
            f"This is one training (one seed) tested on {images:,} images, so the intervals speak of other test images "
            "alone and not of other trainings: run more seeds before you believe it."
        )
    basis = f"over {seeds} seeds and {images:,} test images"
    if not after.may_be_best:
        return f"This was measured {basis}. It isn't ranked among other repairs: {'; '.join(after.said or ())}."
    rivals = {row: e.ours["EO"][0] for row, e in entries.items() if e.may_be_best and row != "erm"}
    if len(rivals) < 2:
        return f"This was measured {basis}, with no other method beside it, so it doesn't say what a simpler repair would do."
    best = min(rivals, key=rivals.get)
    rank = sorted(rivals.values()).index(rivals[method]) + 1
    if best == method:
        return f"Of the {len(rivals)} repairs compared {basis}, it has the lowest equalized odds in the mean."
    return (
        f"Of the {len(rivals)} repairs compared {basis}, {quoted(best)} has the lowest equalized odds in the mean "
        f"({rivals[best]:.1f} %), and {quoted(method)} is number {rank}."
    )


def _alone(column: Column, entry: Entry) -> list[str]:
    images = sum(column.records[0]["metrics"]["group_count"].values())
    name = quoted(entry.row)
    said = not_learned(_of_erm(column))
    return [
        f"{name} is right in {entry.ours['ACC'][0]:.1f} % of {images:,} test images (mean over seeds: {entry.n}), and in "
        f"{entry.ours['WST'][0]:.1f} % of its worst group.",
        f"Its equalized odds, the larger gap in error rates between the groups, are {entry.ours['EO'][0]:.1f} %.",
        said
        or "There is nothing here to compare it with: records of ERM and of a repair in one folder show what that changes.",
    ]


def change(entry: Entry, key: str, form: str = "{} ({} to {})") -> str:
    """A row's change against ERM and its interval, in points, put into `form`."""
    return form.format(*(f"{value:+.1f}".replace("-", "−") for value in entry.change[key]))


def _interval(entry: Entry, key: str) -> str:
    return change(entry, key, "{} points, 95 % interval {} to {}")
