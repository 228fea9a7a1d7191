"""A set of runs in which chosen settings stand for the method: for tables of methods whose settings were chosen."""

from dataclasses import replace

from results.records import LABELS, RunSet, run_name
from utils.records import Label, Record

AUTO = "_auto"  # how the name of a data set's folder ends if the tables show chosen settings (`results/table.sh --settings auto`)


def with_chosen_settings(runs: RunSet) -> RunSet:
    """Return the runs with each "METHOD:settings=auto" under the name METHOD, without the candidates that it was chosen from.

    A method that has no such option stays as it is, ERM and `auto` among them.
    """
    names = {record.method: _plain(record.label) for record in runs.records}
    chosen = {name for name in names if "settings" in Label.of(name).options}
    table = runs.choices
    seen = set(table[table["method"].isin(chosen)]["candidate"]) - {"erm"} if len(table) else set()
    seen |= {names[name] for name in chosen}
    records = [record for record in runs.records if record.method not in seen]
    renamed = {run_name(record.method, record.seed): run_name(names[record.method], record.seed) for record in records}
    parts = {}
    for part in ("curves", "sensitivity", "choices"):
        frame = getattr(runs, part)
        kept = frame[~frame["method"].isin(seen)] if len(frame) else frame
        parts[part] = kept.assign(method=kept["method"].map(names)) if len(kept) else kept
    return replace(
        runs,
        records=sorted((_named(record, names[record.method]) for record in records), key=lambda r: (r.method, r.seed)),
        predictions=runs.predictions[LABELS + list(renamed)].rename(columns=renamed),
        **parts,
    )


def _plain(label: Label) -> str:
    return label.without("settings")


def _named(record: Record, method: str) -> Record:
    return replace(record, method=method, label=Label.of(method))
