"""Three sentences on the result: whether the gap closed, at what cost, and how reliable that is."""

from collections.abc import Iterable

from results.entries import Entry
from results.records import RunSet
from results.remarks import ALIKE, GUESSES, erm_warning, not_learned
from results.report.drawings import quoted

ODDS = "equalized odds, the larger gap in error rates between the groups,"


def sentences(
    runs: RunSet, entries: dict[str, Entry], method: str | None, common: Iterable[Entry] = (), seeds: Iterable[int] = ()
) -> list[str]:
    """Return three sentences on `method` against ERM; without a method or without ERM, on the first entry alone.

    `entries` are the rows by name, in percent. `common` are those of ERM and the method from the `seeds` that both have. If one of
    them has more seeds, the sentences mention that. Without `common` the levels are means over all seeds.
    """
    if method is None or "erm" not in entries:
        return _alone(runs, next(iter(entries.values())))
    both = {row: entries[row] for row in ("erm", method)}
    pair = both | {entry.row: entry for entry in common}
    erm, after = pair["erm"], pair[method]
    said = [_odds(erm, after), _accuracy(erm, after), _trust(runs, entries, after)]
    if [entry.n for entry in both.values()] == [erm.n, after.n]:
        return said
    names = f"seed{'s' if after.n > 1 else ''} {', '.join(map(str, seeds))}"
    return [f"What follows is from {names}, which both ERM and {quoted(method)} have.", *said]


def is_blind(entry: Entry) -> bool:
    """Return True if a row has runs whose equalized odds say nothing."""
    return any(text.endswith((ALIKE, GUESSES)) for text in entry.said or ())


def warning(runs: RunSet) -> str:
    """Return a warning and what follows from it if ERM has hardly learned its task or is hardly biased; else ""."""
    consequence = " So the numbers below show that the software runs, and say nothing of the methods."
    return erm_warning(list(runs.runs("erm").values()), consequence)


def _odds(erm: Entry, after: Entry) -> str:
    name, values = quoted(after.row), f"from {erm.ours['EO'][0]:.1f} % to {after.ours['EO'][0]:.1f} %"
    if is_blind(after):
        return f"With {name} {ODDS} went {values}, which says nothing: {'; '.join(after.said)}."
    if "EO" not in after.change:
        return f"With {name} {ODDS} went {values}; there is no interval for that (no seed in common, or a group of one image)."
    (_, low, high), interval = after.change["EO"], _interval(after, "EO")
    if high < 0:
        return f"{name} lowered {ODDS} {values} ({interval})."
    if low > 0:
        return f"{name} did not help: it raised {ODDS} {values} ({interval})."
    return f"With {name} {ODDS} went {values} ({interval}), but the interval holds 0: these runs alone don't show that it helped."


def _accuracy(erm: Entry, after: Entry) -> str:
    values = f"{erm.ours['ACC'][0]:.1f} % to {after.ours['ACC'][0]:.1f} %"
    worst = f"that of the worst group from {erm.ours['WST'][0]:.1f} % to {after.ours['WST'][0]:.1f} %"
    if "ACC" not in after.change:
        return f"Accuracy went from {values}, and {worst}."
    _, low, high = after.change["ACC"]
    verdict = "rose" if low > 0 else "fell" if high < 0 else "shows no clear change,"
    told = f" ({_interval(after, 'WST')})" if "WST" in after.change else ""
    return f"Accuracy {verdict} from {values} ({_interval(after, 'ACC')}), and {worst}{told}."


def _trust(runs: RunSet, entries: dict[str, Entry], after: Entry) -> str:
    images, method = f"{runs.records[0].metrics.images:,}", after.row
    if not_learned(list(runs.runs("erm").values())):
        return (
            "Neither says anything of the method, because ERM, which it is compared with, has hardly learned its task."
        )
    if after.n == 1:
        trainings = (
            "one training (one seed)" if after.runs == 1 else f"{after.runs} trainings of one biased model (one seed)"
        )
        return (
            f"This is {trainings} tested on {images} images, so the intervals speak of other test images "
            "alone and not of other trainings: run more seeds before you believe it."
        )
    basis = f"over {after.n} seeds and {images} test images"
    if not after.may_be_best:
        return f"This was measured {basis}. It isn't ranked among other repairs: {'; '.join(after.said or ())}."
    rivals = {row: e.ours["EO"][0] for row, e in entries.items() if e.may_be_best and row != "erm"}
    if len(rivals) < 2:
        return f"This was measured {basis}, with no other method beside it, so it doesn't say what a simpler repair would do."
    best = min(rivals, key=rivals.get)
    rank = sorted(rivals.values()).index(rivals[method]) + 1
    compared = f"Of the {len(rivals)} repairs compared {basis},"
    if best == method:
        return f"{compared} it has the lowest equalized odds in the mean."
    found = f"{quoted(best)} has the lowest equalized odds in the mean ({rivals[best]:.1f} %)"
    return f"{compared} {found}, and {quoted(method)} is number {rank}."


def _alone(runs: RunSet, entry: Entry) -> list[str]:
    return [
        f"{quoted(entry.row)} is right in {entry.ours['ACC'][0]:.1f} % of {runs.records[0].metrics.images:,} test images (mean over "
        f"seeds: {entry.n}), and in {entry.ours['WST'][0]:.1f} % of its worst group.",
        f"Its {ODDS} are {entry.ours['EO'][0]:.1f} %.",
        not_learned(list(runs.runs("erm").values()))
        or "There is nothing here to compare it with: records of ERM and of a repair in one folder show what that changes.",
    ]


def change(entry: Entry, key: str, form: str = "{} ({} to {})") -> str:
    """Return a row's change against ERM and its interval, in points, put into `form`."""
    return form.format(*(f"{value:+.1f}".replace("-", "−") for value in entry.change[key]))


def _interval(entry: Entry, key: str) -> str:
    return change(entry, key, "{} points, 95 % interval {} to {}")
