"""The page of the evidence on real faces, from its packed records: the same records give the same bytes.

    python -m results.real_faces --data data --weights FILE --output results/runs/real_faces
    python -m results.real_faces_page --runs results/runs/real_faces      packs them into results/records/real_faces
    python -m results.real_faces_page                                     the page, from the packed records

A source of unbiased images is a folder, and so is each setting of fine-tuning in it.
"""

import argparse
import json
import shutil
from pathlib import Path

from results.columns import Column, column_folders, pack_column, read_column
from results.real_faces import GRID, SOURCES, SWEEP, TUNED
from results.rows import row_label
from results.tables import Entry, column_accuracies, make_entries
from utils.errors import UserError, command_line
from utils.files import write_whole

RECORDS, PAGE = Path("results/records/real_faces"), Path("results/pages/real_faces/README.md")
CHOSEN = "chosen.json"
NAMES = {
    "t2i": "faces by SDXL, FLUX and Stable Diffusion 3",
    "utkface": "UTKFace: photographs of another data set, smiles labelled by a machine",
    "generated": "faces by a small Stable Diffusion that was trained on CelebA",
}
HEADINGS = ("method", "settings", "n", "ACC", "WST", "EO", "ACC to ERM", "EO to ERM")
NOTE = (
    "Percent on the test split; mean ± sample standard deviation over n seeds; EO is the larger gap. The differences to ERM have "
    "95 % intervals for other seeds and other test images, with one seed for other images alone (`results/intervals.py`). "
    "*chosen*: on the first seed, without the test set, by accuracy on real val and equalized odds on held-out images of the "
    "source (`models/choice.py`); *paper*: 10 epochs at 0.06, batch norm's statistics follow. A setting is what they do and "
    "the learning rate."
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="pack these records first")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--output", type=Path, default=PAGE)
    args = parser.parse_args()
    if args.runs:
        pack(args.runs, args.records)
    write_whole(args.output, page(args.records))
    print(args.output)


def pack(runs: Path, records: Path) -> None:
    """Pack every setting of every source, and copy what was chosen."""
    for source in SOURCES:
        for folder in column_folders(runs / source):
            pack_column(read_column(folder), records / source / folder.name)
        if (runs / source / CHOSEN).exists():
            shutil.copyfile(runs / source / CHOSEN, records / source / CHOSEN)


def page(records: Path) -> str:
    """The page in Markdown. Raises `UserError` where there are no records."""
    found = [source for source in SOURCES if column_folders(records / source)]
    if not found:
        raise UserError(f"--records {records}: no <source>/<setting> folder with records; run results.real_faces first")
    parts = ["# Real faces: CelebA, Smiling/Male, ResNet-18 from ImageNet weights", "", NOTE]
    for source in found:
        columns = {folder.name: read_column(folder) for folder in column_folders(records / source)}
        parts += ["", f"## {source}: {NAMES[source]}", "", *table(columns, choices(records / source / CHOSEN))]
    return "\n".join(parts) + "\n"


def choices(path: Path) -> dict[str, str]:
    """The setting of each method that was chosen; empty where nothing was yet."""
    table = json.loads(path.read_text()) if path.exists() else {}
    return {method: row["chosen"] for method, row in table.items()}


def table(columns: dict[str, Column], chosen: dict[str, str]) -> list[str]:
    """ERM, then for each method the chosen setting, the paper's, and all others that were run."""
    entries = {setting: entries_of(column) for setting, column in columns.items()}
    first = next(iter(entries.values()))
    rows = [["erm", "–", *numbers(first["erm"])]]
    for method in dict.fromkeys((*TUNED, *SWEEP)):
        best = chosen.get("aim-fair" if method in SWEEP else method)
        order = sorted(GRID, key=lambda setting: (setting != best, setting != "paper"))
        for setting in order:
            if method in entries.get(setting, {}):
                marks = [mark for mark, is_so in (("chosen", setting == best), ("paper", setting == "paper")) if is_so]
                name = ", ".join([setting.replace("_", " ") if setting != "paper" else "", *marks]).strip(", ")
                rows.append([row_label(method), name, *numbers(entries[setting][method])])
    return ["| " + " | ".join(row) + " |" for row in (HEADINGS, ["---"] * len(HEADINGS), *rows)]


def entries_of(column: Column) -> dict[str, Entry]:
    """A column's rows by method."""
    accuracies = column_accuracies(column)
    return {entry.row: entry for entry in make_entries(column.methods, column, accuracies, {})}


def numbers(entry: Entry) -> list[str]:
    """The cells of a row behind its name and setting."""
    shown = []
    for key in ("ACC", "WST", "EO"):
        value, spread = entry.ours[key]
        shown.append(f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}")
    for key in ("ACC", "EO"):
        change = entry.change.get(key)
        shown.append("{:+.1f} ({:+.1f} to {:+.1f})".format(*change) if change else "–")
    return [str(entry.n), *shown]


if __name__ == "__main__":
    command_line(main)
