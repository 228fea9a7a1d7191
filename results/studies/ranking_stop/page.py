"""The tables of the study on when a ranking may stop."""

import json
from pathlib import Path
from statistics import mean

from results.records import LABELS, read_run_set
from results.study_tables import mean_and_spread, values
from results.text import as_table

PATIENCES = (3, 5, 10, 20, 40)
PATIENCE = 20  # `models.ranking.PATIENCE`, auto's default
HEADING = ["rankings", "stopped early", "the full mask", "differs by, mean (most)", "images saved, mean"]
# measured arms by their folder, and what they are
MEASURED = {
    "toy": "`runner.sh`'s defaults, three seeds",
    "toy_4000": "4,000 real images, three seeds",
    "real_faces_t2i": "CelebA, 400 faces of text-to-image models, one seed",
    "real_faces_generated": "CelebA, 4,000 faces by a small Stable Diffusion trained on CelebA with its labels, two seeds",
}
LARGE = ("toy_4000", "real_faces_t2i", "real_faces_generated")  # with more batches than PATIENCE
TRAINED = {
    "toy": ("all", "auto_20", "auto_3", "first_5"),
    "toy_4000": ("all", "auto_20"),
    "real_faces_64": ("all", "auto_20"),
}


def read(records: Path, name: str) -> dict:
    """Return what was measured; older records hold it as it is, newer ones as findings."""
    found = json.loads((records / name / "ranking_stop.json").read_text())
    if "images" in found:
        return found
    told = {row["what"]: row["value"] for row in found["rows"]}
    return told | {"rows": [row["value"] for row in found["rows"] if row["what"] == "row"]}


def overview(records: Path) -> list[str]:
    """Return a row for each measured arm: what auto finds and saves."""
    rows = [
        (
            "",
            "batches of real, biased, balanced images",
            "full mask found by auto",
            "off by at most",
            "images saved, mean",
        )
    ]
    for name, title in MEASURED.items():
        record = read(records, name)
        _, _, found, off, saved = summary(record, afters(record, PATIENCE))
        sets = f"{', '.join(map(str, record['batches'].values()))} of {record['batch_size']}"
        rows.append((f"{name}: {title}", sets, f"{found} of {len(record['rows'])}", off.split("(")[1][:-1], saved))
    return as_table(rows)


def answers(records: Path) -> list[str]:
    """Return what the tables say."""
    every = {name: read(records, name) for name in MEASURED}
    faces = [(row, len(row["differ"])) for name in LARGE[1:] for row in every[name]["rows"]]
    stops = [row["stops"][str(PATIENCE)]["after"] for row, _ in faces]
    fraction = [saved(every[name], stop) for name in LARGE[1:] for stop in afters(every[name], PATIENCE)]
    right = sum(row["differ"][stop - 1] == 0 for (row, _), stop in zip(faces, stops, strict=True))
    late = {batch: sum(final_after(row["differ"]) > batch for row, _ in faces) for batch in (50, 145)}
    far = max(max(row["differ"][49:]) for row, _ in faces)
    final = {name: [final_after(row["differ"]) for row in every[name]["rows"]] for name in ("toy", "toy_4000")}
    found = {p: sum(int(summary(every[name], afters(every[name], p))[2]) for name in LARGE) for p in (10, PATIENCE, 40)}
    drawn = [count for name in ("toy", "toy_4000") for row in every[name]["rows"] for count in row["draws"]]
    return f"""- **With {faces[0][1]} batches of real images auto saved {percent(min(fraction))[:-2]} to {percent(max(fraction))} of the ranking, and its mask was the full one or one swap off.**
  On real faces it stops after {min(stops)} to {max(stops)} of {faces[0][1]} batches, in {right} of {len(faces)} rankings with the full mask. A swap counts as two: a tensor that
  is missing and one in its place. With one batch of biased and three of balanced faces (t2i) little is left to settle but the real mean.
- **A mask that has been still for {PATIENCE} batches is not final.** Two tensors beside a rank's edge may change places at any time: on real
  faces {late[50]} of the {len(faces)} masks still changed after batch 50, {late[145]} after batch 145. From batch 50 on none was more than {far} tensors off.
- **If there are few batches, it saves little or nothing.** With `runner.sh`'s defaults the largest set has 18 batches, fewer than the {PATIENCE} that
  must pass without a change. The masks are final after {min(final["toy"])} to {max(final["toy"])} of 18 batches there, and after {min(final["toy_4000"])} to {max(final["toy_4000"])} of 62 with 4,000 images.
- **Why {PATIENCE}:** of the {sum(len(every[name]["rows"]) for name in LARGE)} rankings with more batches than that, {found[10]} have the full mask after ten batches without a change, {found[PATIENCE]} after {PATIENCE}, {found[40]} after 40. The tables
  below say what each saves.
- **The full mask is itself a draw of order and crops, and another draw moves it further than stopping early does.** On toy faces {len(drawn)} more
  full rankings of the same images differ from the first by {mean(drawn):.1f} tensors in the mean and {max(drawn)} at most; only {drawn.count(0)} give the same mask. So the full
  mask is a way to compare, not the right answer. On real faces we have not measured other draws.""".splitlines()


def trained(records: Path) -> list[str]:
    """Return AIM-Fair with the full ranking beside fewer batches, from the same biased models, with k = 55."""
    rows = [("%", "seeds", "ACC", "EO", "worst group, of each seed", "real batches used", "test answers beside `all`")]
    for name, arms in TRAINED.items():
        full = read_run_set(records / name / "all")
        for arm in arms:
            column = read_run_set(records / name / arm)
            found = column.runs("aim-fair")
            cells = [
                mean_and_spread(values(column, "aim-fair", key).values())
                for key in ("accuracy", "equalized_odds", "worst_group")
            ]
            used = [
                str(r.content["ranking_batches"]["real"]) if "ranking_batches" in r.content else "all"
                for r in found.values()
            ]
            runs = [name for name in column.predictions if name not in LABELS and name.startswith("aim-fair/")]
            differ = sum(int((column.predictions[run] != full.predictions[run]).sum()) for run in runs)
            rows.append(
                (
                    f"{name}, {arm}",
                    str(len(found)),
                    *cells,
                    ", ".join(used),
                    f"{differ} differ" if differ else "the same",
                )
            )
    return as_table(rows)


def details(records: Path) -> list[str]:
    """Return a section for each measured arm: every ranking, then by patience and by number of batches."""
    return [line for name in MEASURED for line in ("", *detail(name, read(records, name)))][1:]


def detail(name: str, record: dict) -> list[str]:
    """Return the section of one measured arm."""
    rows, last = record["rows"], max(record["batches"].values())
    sets = ", ".join(
        f"{record['batches'][key]} of {key} images ({record['images'][key]:,})" for key in record["batches"]
    )
    lines = [f"### {name}", "", f"Batches of {record['batch_size']}: {sets}.", ""]
    each = [("seed", "k", "in the mask", "final after", f"auto ({PATIENCE}) stops after", "differs by", "saved")]
    for row, after in zip(rows, afters(record, PATIENCE), strict=True):
        stop = [str(after) if after < last else "the end", row["differ"][after - 1], percent(saved(record, after))]
        each.append([str(cell) for cell in (row["seed"], row["k"], row["mask"], final_after(row["differ"]), *stop)])
    stops = [["patience", *HEADING], *([str(p), *summary(record, afters(record, p))] for p in PATIENCES)]
    lines += [*as_table(each), "", "By patience (batches without a change):", "", *as_table(stops)]
    if apart := [count for row in rows for count in row.get("draws", ())]:
        lines += [
            "",
            f"By chance alone: of {len(apart)} full rankings of the same images with other draws of order and crops, "
            f"{apart.count(0)} give the same mask; they differ by {mean(apart):.1f} tensors in the mean, {max(apart)} at most.",
        ]
    return lines


def afters(record: dict, patience: int) -> list[int]:
    """Return after which batch each ranking stops with a patience."""
    return [row["stops"][str(patience)]["after"] for row in record["rows"]]


def final_after(differ: list[int]) -> int:
    """Return the number of the batch after which the mask is the full ranking's and stays so."""
    return max((place for place, count in enumerate(differ, start=1) if count), default=0) + 1


def summary(record: dict, afters: list[int]) -> list[str]:
    """Return the cells under `HEADING` if each ranking stops after its batch of `afters`."""
    rows, last = record["rows"], max(record["batches"].values())
    off = [row["differ"][after - 1] for row, after in zip(rows, afters, strict=True)]
    cells = len(rows), sum(after < last for after in afters), off.count(0), f"{mean(off):.1f} ({max(off)})"
    return [*map(str, cells), percent(mean(saved(record, after) for after in afters))]


def saved(record: dict, after: int) -> float:
    """Return the fraction of all images that a ranking leaves out if it stops after a batch."""
    used, last = record["images_used"], max(record["batches"].values())
    return 1 - used[str(after)] / used[str(last)]


def percent(fraction: float) -> str:
    """Return a fraction as whole percent."""
    return f"{100 * fraction:.0f} %"
