"""The table of the savings, made from the records of rows and timings."""

from pathlib import Path

from results.studies.generation_savings.savings import PLAIN, SIZES, all_savings
from results.study_tables import findings, mean_and_spread
from results.text import as_table

UNDEFINED = "–"
NOTE = (
    "UNet evaluations: latents that the UNet evaluates for an image, counted while it draws. As asked: the fraction of a cell's "
    "images that the judge finds to show what they should, in the mean and in the worst group. Grey levels: mean absolute "
    "difference from the plain images of the same noise. AIM-Fair: percent, test split, mean ± sample standard deviation over "
    "the seeds; EO is the larger gap. ERM sees no synthetic image and is trained once for all rows: {erm}. "
    "– : not measured, or nothing to measure."
)


def table(records: Path) -> list[str]:
    """Return a row for each saving, and how they were measured. A dash stands for what is not measured."""
    timings = {size: findings(records, f"timing_{size.replace(' ', '_')}") for size in SIZES.values()}
    timings = {size: found for size, found in timings.items() if found}
    names = ("", "UNet evaluations", "as asked, %", "worst group, %", "grey levels", "AIM-Fair, ACC", "AIM-Fair, EO")
    rows = [(*names, *(f"images/s, {size}" for size in timings))]
    for name, saving in all_savings().items():
        speeds = [_speed(name, found) for found in timings.values()]
        rows.append((saving.title, *_measured(findings(records, name)), *speeds))
    erm = findings(records, PLAIN).get("erm")
    note = NOTE.format(erm="ACC {}, EO {}".format(*_metrics(erm)) if erm else UNDEFINED)
    return [*as_table(rows), "", note, *(line for size, found in timings.items() for line in ("", _how(size, found)))]


def _measured(row: dict) -> list[str]:
    if "aim-fair" not in row:
        return [UNDEFINED] * 6
    asked = list(row["as asked, %"].values())
    cells = [f"{row['UNet evaluations']:g}", f"{sum(asked) / len(asked):.1f}", f"{min(asked):.1f}"]
    return [*cells, f"{row['grey levels']:.2f}", *_metrics(row["aim-fair"])]


def _metrics(found: dict) -> list[str]:
    return [mean_and_spread(found[key]) for key in ("accuracy", "equalized_odds")]


def _speed(name: str, timing: dict) -> str:
    """Return a row's images/s, and how many times the plain row's that is."""
    if name not in timing:
        return UNDEFINED
    own, usual = timing[name]["images_per_second"], timing.get(PLAIN, {}).get("images_per_second")
    return f"{own:.3g}" + (f" (× {own / usual:.2f})" if usual else "")


def _how(size: str, timing: dict) -> str:
    """Return a sentence on how the speeds of a size were measured, with what the first batch cost if a row compiles."""
    how = timing["how"]
    text = f"Images/s, {size}: on {how['device']}, {how['threads']} threads, {how['images']} images of {how['size']} pixels at once, "
    text += f"median of {how['turns']} turns."
    extra = timing.get("compiled", {}).get("first_batch_extra_seconds")
    return text + (f" The first compiled batch took {extra:.0f} s more." if extra is not None else "")
