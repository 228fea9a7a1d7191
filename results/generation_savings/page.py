"""The table, from the rows and the timings that are there."""

from statistics import mean, stdev

from results.generation_savings.savings import PLAIN, Saving

UNDEFINED = "–"
NOTE = (
    "UNet evaluations: latents that the UNet evaluates for an image, counted while it draws. As asked: the share of a cell's "
    "images that the judge finds to show what they should, in the mean and in the worst cell. Grey levels: mean absolute "
    "difference from the plain images of the same noise. AIM-Fair: percent, test split, mean ± sample standard deviation over "
    "the seeds; EO is the larger gap. ERM sees no synthetic image and is trained once for all rows: {erm}. "
    "– : not measured, or nothing to measure."
)


def page(savings: dict[str, Saving], rows: dict[str, dict], timings: dict[str, dict]) -> str:
    """The table in Markdown. `rows` and `timings` may lack rows: what isn't measured is a dash.

    `timings` has, by the name of a size, a dictionary with "settings" and "rows".
    """
    names = ["", "UNet evaluations", "as asked, %", "worst cell, %", "grey levels", "AIM-Fair, ACC", "AIM-Fair, EO"]
    lines = [[*names, *(f"images/s, {size}" for size in timings)]]
    lines.append(["---"] * len(lines[0]))
    for name, saving in savings.items():
        lines.append([saving.title, *_measured(rows.get(name)), *(_speed(name, found) for found in timings.values())])
    erm = UNDEFINED if PLAIN not in rows else "ACC {}, EO {}".format(*_metrics(rows[PLAIN]["erm"]))
    parts = ["# What the savings of generation save", "", *("| " + " | ".join(line) + " |" for line in lines)]
    parts += ["", NOTE.format(erm=erm), *(line for size, found in timings.items() for line in ("", _how(size, found)))]
    return "\n".join(parts) + "\n"


def _measured(row: dict | None) -> list[str]:
    """The cells of a row's images and training; dashes where they are not measured."""
    if row is None:
        return [UNDEFINED] * 6
    shares = list(row["as_asked"].values())
    cells = [f"{row['evaluations']:g}", f"{mean(shares):.1f}", f"{min(shares):.1f}", f"{row['grey_levels']:.2f}"]
    return [*cells, *_metrics(row["aim-fair"])]


def _metrics(found: dict) -> list[str]:
    """Accuracy and equalized odds over seeds, in percent."""
    return [_spread(found[key]) for key in ("accuracy", "equalized_odds")]


def _spread(shares: list[float]) -> str:
    text = f"{100 * mean(shares):.2f}"
    return text if len(shares) < 2 else f"{text} ± {100 * stdev(shares):.2f}"


def _speed(name: str, timing: dict) -> str:
    """A row's images/s, and how many times the plain row's that is."""
    if name not in timing["rows"]:
        return UNDEFINED
    own = timing["rows"][name]["images_per_second"]
    usual = timing["rows"].get(PLAIN, {}).get("images_per_second")
    return f"{own:.3g}" + (f" (× {own / usual:.2f})" if usual else "")


def _how(size: str, timing: dict) -> str:
    """A sentence on how the speeds of a size were measured, with what the first batch cost where a row compiles."""
    how = timing["settings"]
    text = f"Images/s, {size}: on {how['device']}, {how['threads']} threads, {how['images']} images of {how['size']} pixels at once, "
    text += f"median of {how['turns']} turns."
    extra = timing["rows"].get("compiled", {}).get("first_batch_extra_seconds")
    return text + (f" The first compiled batch took {extra:.0f} s more." if extra is not None else "")
