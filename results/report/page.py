"""Everything the page of a report shows, gathered from the records and put into its template."""

from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results.entries import Entry, make_entries
from results.records import RunSet, pair_of, read_csv
from results.remarks import remarks
from results.report import asked, choice, drawings, meaning, tensors
from results.report.charts import MANY_GROUPS
from results.report.drawings import label_of
from results.rows import row_of
from results.summary import NOTE, OF_MORE_TARGETS, headings, summary_row
from results.table_text import seeds_and_runs
from results.text import group_words
from utils.errors import UserError
from utils.metrics import classes_of
from utils.records import rerun

GENERATOR = "AIM-Fair results.report"  # marks a file as one of ours, which may be written over
OWN_TERMS = ("toy", "csv")  # data whose faces may be shown: drawn, or the user's own
TILES = {"EO": ("Equalized odds", "lower is fairer"), "WST": ("Worst group", "higher is better")}
TILES |= {"ACC": ("Accuracy", "higher is better")}
FIRST = ("Method", "n", "EO max", "WST of means", "mean of WST", "ACC")  # columns of the summary; its others follow


@dataclass(frozen=True)
class Pictures:
    """Folders of the faces, None for none; `show_real` shows real ones whatever their terms."""

    synthetic: Path | None = None
    real: Path | None = None
    show_real: bool = False


def make_page(runs: RunSet, pictures: Pictures, typed: str = "") -> str:
    """Return the page of a set of runs; `typed` is the command that made them, if it is known.

    Raises UserError if something is damaged or does not fit.
    """
    method, entries = main_method(runs.methods), row_entries(runs)
    faces, train = face_sheets(runs, method, pictures)
    loader = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return (
        Environment(loader=loader, **options)
        .get_template("report.html.j2")
        .render(
            **what_was_asked(runs, method, train),
            **what_came_out(runs, method, entries),
            **of_tensors(runs),
            generator=GENERATOR,
            faces=faces,
            note=NOTE if classes_of(runs.groups) == 2 else f"{NOTE} {OF_MORE_TARGETS}",
            many=drawings.MANY,
            panels=drawings.PANELS,
            typed=typed,
        )
    )


def what_was_asked(runs: RunSet, method: str | None, train: dict[str, int] | None) -> dict:
    """Return the parts of the page on the pair, the data, the settings and the machine."""
    pair, dataset = pair_of(asked.first_record(runs)), asked.first_record(runs).real_settings.get("dataset")
    return {
        "pair": pair,
        "words": group_words(pair),
        "data": asked.DATASETS.get(dataset, dataset or ""),
        "dataset": dataset,
        "seeds": runs.seeds,
        "methods": [label_of(name) for name in order(runs.methods)],
        "method": method and label_of(row_of(method)),
        "counts": asked.counts(runs, method, pair, train),
        "settings": asked.settings_tables(runs, method),
        "minutes": asked.training_minutes(runs.records),
        "environment": asked.environment(runs.records),
    }


def what_came_out(runs: RunSet, method: str | None, entries: list[Entry]) -> dict:
    """Return the parts of the page on the results."""
    compared, by_row = beside_erm(runs, method), {entry.row: entry for entry in entries}
    pair, seeds = (row_entries(compared), compared.seeds) if compared else ([], [])
    words = group_words(pair_of(asked.first_record(runs)))
    return {
        "tiles": tiles({entry.row: entry for entry in pair}, method),
        "compared": seeds,
        "sentences": meaning.sentences(runs, by_row, method and row_of(method), pair, seeds),
        "warning": meaning.warning(runs),
        "curves": drawings.curve_charts(runs, order(runs.methods)),
        "groups": drawings.groups_chart(compared, row_of(method or ""), words) if compared else None,
        "many_groups": len(runs.groups) > MANY_GROUPS,
        "odds": drawings.odds_chart(runs, entries),
        "families": drawings.families_key(runs, entries),
        "changes": changes(entries),
        "summary": summary_table(runs, [entry.row for entry in entries]),
    }


def of_tensors(runs: RunSet) -> dict:
    """Return the parts of the page on the rankings and on k."""
    fair = next(iter(runs.runs("aim-fair").values()), None)
    chosen = [record for record in runs.records if "chosen_top_k" in record.content]
    return {
        "rankings": tensors.rankings_chart(runs),
        "blocks": tensors.block_rows(runs),
        "top_k": fair and fair.settings.get("top_k"),
        "auto": auto_choices(runs),
        "auto_packed": {f"{label_of(r.method)}, seed {r.seed}": r.content["chosen_top_k"] for r in chosen},
        "k_charts": tensors.k_charts(runs),
        "choices": choice.choice_charts(runs),
        "chosen": choice.chosen_rows(runs),
    }


def check_output(path: Path) -> None:
    """Raise UserError if there is a file that is no report, so that nothing else is written over."""
    if path.is_dir() or (path.exists() and GENERATOR.encode() not in path.read_bytes()[:2000]):
        raise UserError(f"--output {path}: there is something else than a report of this program; name another file")


def order(methods: list[str]) -> list[str]:
    """Return the methods in the order of the page: ERM, AIM-Fair, its variants, then all others."""
    return sorted(methods, key=lambda name: (name != "erm", name != "aim-fair", not name.startswith("aim-fair"), name))


def main_method(methods: list[str]) -> str | None:
    """Return the method that the page is about, None if there is only ERM: one that chose its settings, AIM-Fair, or the first."""
    first = [name for name in ("aim-fair:settings=auto", "auto") if name in methods]
    return next((name for name in [*first, *order(methods)] if name != "erm"), None)


def beside_erm(runs: RunSet, method: str | None) -> RunSet | None:
    """Return ERM and the rows of a method from the seeds that both have, so that levels and changes agree; None if there are none."""
    row = row_of(method) if method else ""
    own = {record.seed for record in runs.records if row_of(record.method) == row}
    shared = own & runs.runs("erm").keys()
    records = [r for r in runs.records if r.seed in shared and (r.method == "erm" or row_of(r.method) == row)]
    return replace(runs, records=records) if records else None


def row_entries(runs: RunSet) -> list[Entry]:
    """Return a row of the tables for each method, draws of one random mask in one row.

    Raises UserError if the predictions do not fit the records.
    """
    rows = list(dict.fromkeys(map(row_of, order(runs.methods))))
    try:
        return make_entries(rows, runs)
    except (ValueError, IndexError) as error:
        raise UserError(f"the test predictions of {runs.name} don't fit its records ({error}); run it again") from error


def tiles(entries: dict[str, Entry], method: str | None) -> list[dict]:
    """Return the three numbers at the top: before, after, and the change with its interval."""
    erm, after = entries.get("erm"), entries.get(row_of(method)) if method else None
    if not erm or not after:
        return []
    found = []
    for key, (name, better) in TILES.items():
        interval, verdict = "", "no interval"
        if key in after.change:
            _, low, high = after.change[key]
            interval = meaning.change(after, key, "{} points ({} to {})")
            good = (high < 0) == (key == "EO")
            verdict = "no clear change" if low <= 0 <= high else "better" if good else "worse"
        if key == "EO" and meaning.is_blind(after):
            verdict = "says nothing"
        levels = {"before": f"{erm.ours[key][0]:.1f}", "after": f"{after.ours[key][0]:.1f}"}
        found.append({"name": name, "better": better, **levels, "interval": interval, "verdict": verdict})
    return found


def changes(entries: list[Entry]) -> list[list[str]]:
    """Return the table of levels and of changes against ERM as text, the heading first."""
    shown = {"EO": "equalized odds", "WST": "worst group", "ACC": "accuracy"}
    rows = [["method", "seeds", *shown.values(), *(f"{name}, to ERM" for name in shown.values())]]
    for entry in entries:
        levels = (f"{entry.ours[key][0]:.1f}" for key in shown)
        told = (meaning.change(entry, key) if key in entry.change else "–" for key in shown)
        rows.append([label_of(entry.row, entry.said or ()), seeds_and_runs(entry), *levels, *told])
    return rows


def summary_table(runs: RunSet, rows: list[str]) -> list[list[str]]:
    """Return the summary of `results.summary`, its heading first, in the order of the page.

    Equalized odds and the worst group come first. A table's entry breaks before its standard deviation, if at all.
    """
    methods = sorted(runs.methods, key=lambda method: rows.index(row_of(method)))
    records = {method: list(runs.runs(method).values()) for method in methods}
    found = [summary_row(label_of(method, remarks(own)), own) for method, own in records.items()]
    heads = headings(runs.groups)
    places = sorted(range(len(heads)), key=lambda i: FIRST.index(heads[i]) if heads[i] in FIRST else len(FIRST))
    return [[row[place].replace("± ", "±\N{NO-BREAK SPACE}") for place in places] for row in (heads, *found)]


def auto_choices(runs: RunSet) -> dict[str, list[list[str]]]:
    """Return the candidates of each run whose k chose itself as rows, from its top_k.csv; none if the records are packed."""
    columns, found = ["top_k", "val_accuracy", "held_out_equalized_odds"], {}
    for record in runs.records:
        if record.folder and (record.folder / "top_k.csv").exists():
            rows = tensors.k_rows(read_csv(record.folder / "top_k.csv", columns, rerun(record.folder)))
            found[f"{label_of(record.method)}, seed {record.seed}"] = rows
    return found


def face_sheets(runs: RunSet, method: str | None, pictures: Pictures) -> tuple[dict, dict[str, int] | None]:
    """Return the sheets of faces by group, with a line if there are none; and the groups of the training list, if known."""
    record = asked.first_record(runs)
    pair, real = pair_of(record), record.real_settings
    found = {"real": {}, "synthetic": {}, "real_said": "", "real_shown": "", "means": {}}
    prompt_type = asked.method_settings(runs, method).get("prompt_type", "contextual")
    found["synthetic_said"] = "Synthetic faces: none shown; --synthetic DIR adds them."
    if pictures.synthetic:
        from results.report.faces import synthetic_sheets  # torch comes with it, which takes seconds to load

        found["synthetic"] = synthetic_sheets(pictures.synthetic, pair, prompt_type)
        none = f"Synthetic faces: none found of {pair.name}, {prompt_type}."
        found["synthetic_said"] = "" if found["synthetic"] else none
    if not pictures.real:
        return found | {"real_said": "Real faces: none shown; --real DIR adds them."}, None
    from datasets.known import WHOLE
    from datasets.real import read_real
    from datasets.values import chosen_values
    from results.report.faces import check_tested_on, mean_real_face, mean_synthetic_face, real_sheets

    dataset = real.get("dataset", "")
    lists = read_real(dataset, pictures.real, pair.name, values=chosen_values(pair))
    box = tuple(real.get("real_crop", WHOLE))
    check_tested_on(lists, runs.predictions)
    if found["synthetic"]:
        means = {
            "real": mean_real_face(lists, box),
            "synthetic": mean_synthetic_face(pictures.synthetic, pair, prompt_type),
        }
        found["means"] = means if all(mean.uri for mean in means.values()) else {}
    if dataset in OWN_TERMS or pictures.show_real:
        found |= {"real": real_sheets(lists, runs.predictions, pair, box), "real_shown": dataset}
    else:
        name = asked.DATASETS.get(dataset, dataset)
        found["real_said"] = f"Real faces: left out, since the terms of {name} may not allow passing them on."
    return found, asked.training_groups(lists.tables["train"], pair, real)
