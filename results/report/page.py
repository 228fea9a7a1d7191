"""Everything the page of a report shows, gathered from the records and put into its template."""

from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results.columns import Column
from results.entries import Entry, column_accuracies, make_entries
from results.remarks import remarks
from results.report import asked, drawings, meaning, tensors
from results.report.drawings import label_of
from results.rows import without_draw
from results.summary import NOTE, headings, summary_row
from results.whole_csv import read_csv
from utils.errors import UserError
from utils.records import read_record, rerun

GENERATOR = "AIM-Fair results.report"  # marks a file as one of ours, which may be written over
OWN_TERMS = ("toy", "csv")  # data whose faces may be shown: drawn, or the user's own
TILES = {"EO": ("Equalized odds", "lower is fairer"), "WST": ("Worst group", "higher is better")}
TILES |= {"ACC": ("Accuracy", "higher is better")}
FIRST = ("Method", "n", "EO max", "WST of means", "mean of WST", "ACC")  # columns of the summary; its others follow


@dataclass(frozen=True)
class Pictures:
    """Where the faces lie, None for none, and whether to show real ones whatever their terms."""

    synthetic: Path | None = None
    real: Path | None = None
    show_real: bool = False


def make_page(column: Column, runs: Path, pictures: Pictures, typed: str = "") -> str:
    """Return the page of a column of records that lies in `runs`; `typed` is the command that made them, if it is known.

    Raises `UserError` for what is damaged or doesn't fit.
    """
    method, entries = main_method(column.methods), row_entries(column)
    compared = beside_erm(column, method)
    faces, train = face_sheets(column, method, pictures)
    content = {"generator": GENERATOR, "faces": faces, "note": NOTE, "many": drawings.MANY, "panels": drawings.PANELS}
    content |= {"typed": typed}
    content |= (
        what_was_asked(column, method, train)
        | what_came_out(column, compared, method, entries)
        | of_tensors(column, runs)
    )
    return template().render(content)


def what_was_asked(column: Column, method: str | None, train: dict[str, int] | None) -> dict:
    """The parts of the page on the pair, the data, the settings and the machine."""
    pair, real = asked.pair_of(column), asked.real_settings(column)
    return {
        "pair": pair,
        "words": asked.group_words(pair),
        "data": asked.DATASETS.get(real.get("dataset"), real.get("dataset", "")),
        "dataset": real.get("dataset"),
        "seeds": asked.seeds_of(column),
        "methods": [label_of(name) for name in order(column.methods)],
        "method": method and label_of(method),
        "counts": asked.counts(column, method, pair, train),
        "settings": asked.settings_tables(column, method),
        "minutes": asked.training_minutes(column.records),
        "environment": asked.environment(column.records),
    }


def what_came_out(column: Column, compared: Column | None, method: str | None, entries: list[Entry]) -> dict:
    """The parts of the page on the results; `compared` is that of `beside_erm`."""
    by_row = {entry.row: entry for entry in entries}
    words = asked.group_words(asked.pair_of(column))
    pair, seeds = (row_entries(compared), asked.seeds_of(compared)) if compared else ([], [])
    return {
        "tiles": tiles({entry.row: entry for entry in pair}, method),
        "compared": seeds,
        "sentences": meaning.sentences(column, by_row, method and without_draw(method), pair, seeds),
        "warning": meaning.warning(column),
        "curves": drawings.curve_charts(column, order(column.methods)),
        "groups": drawings.groups_chart(compared, method, words) if compared else None,
        "odds": drawings.odds_chart(column, entries),
        "families": drawings.families_key(column, entries),
        "changes": changes(entries),
        "summary": summary_table(column, [entry.row for entry in entries]),
    }


def of_tensors(column: Column, runs: Path) -> dict:
    """The parts of the page on the rankings and on k."""
    fair = next(iter(column.runs("aim-fair").values()), {"settings": {}})
    chosen = [record for record in column.records if "chosen_top_k" in record]
    return {
        "rankings": tensors.rankings_chart(column),
        "blocks": [] if column.sensitivity.empty else tensors.block_rows(column),
        "top_k": fair["settings"].get("top_k"),
        "auto": auto_choices(runs),
        "auto_packed": {f"{label_of(r['method'])}, seed {r['seed']}": r["chosen_top_k"] for r in chosen},
        "k_charts": tensors.k_charts(column),
    }


def template():
    """The template of the page; everything that goes into it is escaped."""
    folder = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=folder, **options)
    return environment.get_template("report.html.j2")


def check_output(path: Path) -> None:
    """Raise `UserError` where a file is there that is no report, so that nothing else is written over."""
    if path.is_dir() or (path.exists() and GENERATOR.encode() not in path.read_bytes()[:2000]):
        raise UserError(f"--output {path}: there is something else than a report of this program; name another file")


def order(methods: list[str]) -> list[str]:
    """The methods as the page lists them: ERM, AIM-Fair, its variants, then all others."""
    return sorted(methods, key=lambda name: (name != "erm", name != "aim-fair", not name.startswith("aim-fair"), name))


def main_method(methods: list[str]) -> str | None:
    """The method that the page is about: AIM-Fair or a variant of it, else the first that isn't ERM; None without one."""
    return next((name for name in order(methods) if name != "erm"), None)


def beside_erm(column: Column, method: str | None) -> Column | None:
    """ERM and the rows of a method from the seeds that both have, so that levels and changes agree; None if there are none."""
    row = without_draw(method) if method else ""
    records = [r for r in column.records if r["method"] == "erm" or without_draw(r["method"]) == row]
    of_erm, own = ({r["seed"] for r in records if (r["method"] == "erm") == is_erm} for is_erm in (True, False))
    records = [record for record in records if record["seed"] in of_erm & own]
    return replace(column, records=records) if records else None


def row_entries(column: Column) -> list[Entry]:
    """A row of `results.tables` for each method, draws of one random mask in one row."""
    try:
        accuracies = column_accuracies(column)
    except (ValueError, IndexError) as error:
        raise UserError(
            f"the test predictions of {column.name} don't fit its records ({error}); run it again"
        ) from error
    rows = list(dict.fromkeys(map(without_draw, order(column.methods))))
    return make_entries(rows, column, accuracies, {})


def tiles(entries: dict[str, Entry], method: str | None) -> list[dict]:
    """The three numbers at the top: before, after, and the change with its interval."""
    erm, after = entries.get("erm"), entries.get(without_draw(method)) if method else None
    if not erm or not after:
        return []
    found = []
    for key, (name, better) in TILES.items():
        known = after.change.get(key)
        interval = meaning.change(after, key, "{} points ({} to {})") if known else ""
        clear = bool(known) and (known[1] > 0 or known[2] < 0)
        good = clear and (known[2] < 0) == (key == "EO")
        verdict = ("better" if good else "worse") if clear else "no clear change" if known else "no interval"
        verdict = "says nothing" if key == "EO" and meaning.is_blind(after) else verdict
        found.append(
            {"name": name, "better": better, "before": f"{erm.ours[key][0]:.1f}", "after": f"{after.ours[key][0]:.1f}"}
        )
        found[-1] |= {"interval": interval, "verdict": verdict}
    return found


def changes(entries: list[Entry]) -> list[list[str]]:
    """Return the table of levels and of changes against ERM as text, the heading first."""
    shown = {"EO": "equalized odds", "WST": "worst group", "ACC": "accuracy"}
    rows = [["method", "seeds", *shown.values(), *(f"{name}, to ERM" for name in shown.values())]]
    for entry in entries:
        levels = (f"{entry.ours[key][0]:.1f}" for key in shown)
        told = (meaning.change(entry, key) if key in entry.change else "–" for key in shown)
        rows.append([label_of(entry.row, entry.said or ()), str(entry.n), *levels, *told])
    return rows


def summary_table(column: Column, rows: list[str]) -> list[list[str]]:
    """Return the summary of `results.summary`, its heading first, in the order of the page.

    Equalized odds and the worst group come first. A table's entry breaks before its standard deviation, if at all.
    """
    names = list(column.records[0]["metrics"]["group_accuracy"])
    methods = sorted(column.methods, key=lambda method: rows.index(without_draw(method)))
    runs = {method: list(column.runs(method).values()) for method in methods}
    found = [summary_row(label_of(m, remarks(rs)), [r["metrics"] for r in rs]) for m, rs in runs.items()]
    heads = headings(names)
    first = [heads.index(name) for name in FIRST]
    order = first + [place for place in range(len(heads)) if place not in first]
    return [[row[place].replace("± ", "±\N{NO-BREAK SPACE}") for place in order] for row in (heads, *found)]


def auto_choices(runs: Path) -> dict[str, list[list[str]]]:
    """For each run whose k chose itself the candidates as rows, from its top_k.csv; none where the records are packed."""
    found = {}
    for path in sorted(runs.glob("*/seed_*/top_k.csv")):
        record = read_record(path.parent, "chosen_top_k")
        table = read_csv(path, ["top_k", "val_accuracy", "held_out_equalized_odds"], rerun(path.parent))
        found[record["method"], record["seed"]] = tensors.k_rows(table)
    return {f"{label_of(method)}, seed {seed}": rows for (method, seed), rows in sorted(found.items())}


def face_sheets(column: Column, method: str | None, pictures: Pictures) -> tuple[dict, dict[str, int] | None]:
    """The sheets of faces by group, with a line where there are none; the groups of the training list, if known."""
    pair, real = asked.pair_of(column), asked.real_settings(column)
    found = {"real": {}, "synthetic": {}, "real_said": "", "real_shown": "", "means": {}}
    prompt_type = asked.method_settings(column, method).get("prompt_type", "contextual")
    found["synthetic_said"] = "Synthetic faces: none shown; --synthetic DIR adds them."
    if pictures.synthetic:
        from results.report.faces import synthetic_sheets  # torch comes with it, which takes seconds to load

        found["synthetic"] = synthetic_sheets(pictures.synthetic, pair, prompt_type)
        none = f"Synthetic faces: none found of {pair.name}, {prompt_type}."
        found["synthetic_said"] = "" if found["synthetic"] else none
    dataset = real.get("dataset", "")
    name = asked.DATASETS.get(dataset, dataset)
    if not pictures.real:
        return found | {"real_said": "Real faces: none shown; --real DIR adds them."}, None
    from datasets.images import WHOLE
    from datasets.real import read_real
    from results.report.faces import check_tested_on, mean_real_face, mean_synthetic_face, real_sheets

    lists = read_real(dataset, pictures.real, pair.name)
    check_tested_on(lists, column.predictions)
    box = tuple(real.get("real_crop", WHOLE))
    if found["synthetic"]:
        means = {
            "real": mean_real_face(lists, box),
            "synthetic": mean_synthetic_face(pictures.synthetic, pair, prompt_type),
        }
        found["means"] = means if all(mean.uri for mean in means.values()) else {}
    if dataset in OWN_TERMS or pictures.show_real:
        found |= {"real": real_sheets(lists, column.predictions, pair, box), "real_shown": dataset}
    else:
        found["real_said"] = f"Real faces: left out, since the terms of {name} may not allow passing them on."
    return found, asked.training_groups(lists.tables["train"], pair, real)
