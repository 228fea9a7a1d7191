"""Run, pack and show a study: an experiment told by one value, `STUDY` of `results/studies/NAME.py`.

    python -m results.study framing run --data DIR --weights FILE --jobs 2    runs what is not recorded yet
    python -m results.study framing run --only "whole*" ... --device cpu      some arms; flags not listed below go to train.py
    python -m results.study framing pack                                      adds these runs to results/records/framing
    python -m results.study framing page                                      remakes the pages from the packed records
    python -m results.study all page                                          remakes the pages of all studies

`results/studies/__init__.py` says what a study is made of. Runs go to results/runs/studies/NAME, what they print to logs/ there.
"""

import argparse
import json
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from results import studies
from results.columns import pack_column, with_packed
from results.records import PACKED, RunSet, read_run_set
from results.studies import Place, Study
from results.study_run import NOTES, diverged, measure, read_measured, run
from results.study_tables import as_page, origin
from results.text import as_table
from utils.errors import UserError, command_line
from utils.files import write_whole

RECORDS, PAGES, RUNS = Path("results/records"), Path("results/pages"), Path("results/runs/studies")
MANY = 16  # methods of an arm that a page names
STANDS_FOR = {"data": "DIR", "weights": "FILE", "work": "WORK"}


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(module.name for module in iter_modules(studies.__path__))


def study_of(name: str) -> Study:
    """Return a study by its name. Raises `UserError` if there is none."""
    if name not in names():
        raise UserError(f"{name}: no such study; there are {', '.join(names())}")
    return import_module(f"results.studies.{name}").STUDY


def pack(study: Study, runs: Path, records: Path) -> None:
    """Add the runs of every arm to those packed before: records, notes of what diverged, and what was measured.

    Raises `UserError` if there are no runs, or if they do not belong to what is packed.
    """
    measured = [arm.name for arm in study.arms_in(runs) if arm.measure and (runs / f"{arm.name}.json").exists()]
    for arm in measured:
        write_whole(records / f"{arm}.json", (runs / f"{arm}.json").read_bytes())
    trained = sorted({path.parents[2] for path in runs.rglob("seed_*/metrics.json")})
    for folder in trained:  # not by the arms: another machine may have the records that some of them follow from
        target = records / folder.relative_to(runs)
        if any(target.glob("*/seed_*/metrics.json")):
            raise UserError(f"{target} holds records that are not packed; pack into other --records")
        pack_column(with_packed(read_run_set(folder), target), target)
        pack_notes(folder, target)
        print(target)
    if not measured + trained:
        raise UserError(f"{runs}: no arm has a record there; run the study first")


def pack_notes(folder: Path, target: Path) -> None:
    """Add what diverged to the notes packed before, and take off what has a record by now."""
    column, found = read_run_set(target), {}
    for method, seeds in (*diverged(target).items(), *diverged(folder).items()):
        if left := {*found.get(method, ()), *seeds} - column.runs(method).keys():
            found[method] = sorted(left)
    (target / NOTES).unlink(missing_ok=True)
    if found:
        write_whole(target / NOTES, json.dumps(found) + "\n")


def columns(study: Study, records: Path) -> dict[str, RunSet]:
    """Return the records of every arm that trained, by the arm's name."""
    arms = dict.fromkeys(arm.name for arm in study.arms_in(records) if not arm.measure)
    return {
        name: read_run_set(records / name)
        for name in arms
        if (records / name / PACKED).exists() or any((records / name).glob("*/seed_*/metrics.json"))
    }


def write_pages(name: str, study: Study, records: Path, output: Path) -> None:
    """Write the page of a study to <output>/records/<name>/README.md, and its further pages to <output>/pages/<name>.

    Raises `UserError` if the study has arms and `records` holds no record.
    """
    if study.arms and not any(path.suffix in (".json", ".jsonl") for path in records.rglob("*")):
        call = f"python -m results.study {name}"
        raise UserError(f"{records} holds no records: {call} run makes them, then {call} pack")
    if study.body:
        write_whole(output / "records" / name / "README.md", page(name, study, records))
    if study.pages:
        study.pages(records, output / "pages" / name)


def page(name: str, study: Study, records: Path) -> str:
    """Return a study's page in Markdown, made from the packed records alone."""
    body = [part if isinstance(part, str) else part(records) for part in study.body]
    arms = [arm.name for arm in study.arms_in(records) if arm.measure and (records / f"{arm.name}.json").exists()]
    found = [record.content for column in columns(study, records).values() for record in column.records]
    found += [read_measured(records / f"{arm}.json") for arm in arms]
    return as_page([f"# {study.title}", *body, commands(name, study, records), origin(found)])


def commands(name: str, study: Study, records: Path) -> list[str]:
    """Return the study's commands, and what each arm asks of train.py or runner.sh."""
    arms = study.arms_in(records)
    every = " ".join(flag for arm in arms for flag in (*study.common, *arm.flags))
    given = "".join(f" --{key} {STANDS_FOR[key]}" for key in ("data", "weights") if f"{{{key}}}" in every)
    call = f"python -m results.study {name}"
    steps = [f"{call} run{given}", f"{call} pack"] if arms else []
    lines = ["## Commands", "", "```bash", *steps, f"{call} page", "```"]
    if study.common:
        lines += ["", "Flags of every arm:", "", "```", *wrapped(study.common), "```"]
    if training := [arm for arm in arms if not arm.measure]:
        lines += ["", f"`run` calls {' and '.join(sorted({arm.program for arm in training}))} for each arm:", ""]
        rows = [("arm", "methods", "seeds", "flags")]
        of_name = {arm.name: arm.flags for arm in reversed(training)}
        for arm in training:
            base = of_name.get(arm.erm_of, ())
            alike = bool(base) and arm.flags[: len(base)] == base  # then only what it adds is shown
            own = shown(arm.flags[len(base) * alike :])
            flags = [f"{'flags and ' * alike}biased models of {arm.erm_of}"] if arm.erm_of else []
            flags += [f"`{own}`"] if own else []
            methods = [*arm.methods[:MANY], *([f"... ({len(arm.methods)} in all)"] * (len(arm.methods) > MANY))]
            rows.append((arm.name, ", ".join(methods), ", ".join(map(str, arm.seeds)), ", ".join(flags)))
        lines += as_table(rows)
    return lines + (["", study.note] if study.note else [])


def shown(flags: tuple[str, ...]) -> str:
    """Return flags as one line, with DIR, FILE and WORK for what a call fills in."""
    return " ".join(flags).format(**STANDS_FOR)


def wrapped(flags: tuple[str, ...], width: int = 120) -> list[str]:
    """Return flags in lines that break before a flag."""
    lines = [""]
    for word in shown(flags).split():
        if word.startswith("--") and len(lines[-1]) > width - 40:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main() -> None:
    """Read the command line and call what it asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", help=f"a study, or all: {', '.join(names())}")
    parser.add_argument("do", choices=("run", "pack", "page", "measure"), help="measure: one arm, in this process")
    parser.add_argument("--data", type=Path, help="folder with the data sets that the study names")
    parser.add_argument("--weights", type=Path, help="ResNet-18 trained on ImageNet, as a safetensors file")
    parser.add_argument("--output", type=Path, help=f"the runs (default: {RUNS}/NAME)")
    parser.add_argument(
        "--records", type=Path, help=f"the packed records (default: {RECORDS}/NAME); their pages go to made/ in it"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ARM", help='arms, or patterns such as "whole*"')
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument("--device", help="of train.py and of what is measured (default: auto)")
    parser.add_argument("--small", action="store_true", help="measure in miniature, to try the command itself")
    args, more = parser.parse_known_args()
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: at least 1")
    if more and args.do != "run":
        raise UserError(f"{more[0]}: only run passes flags on to train.py")
    if args.name == "all" and args.do != "page":
        raise UserError(f"all: only page takes all studies at once; name one: {', '.join(names())}")
    for name in names() if args.name == "all" else [args.name]:
        study, records, output = study_of(name), args.records or RECORDS / name, args.output or RUNS / name
        place = Place(output / "scratch", output, args.device or "auto", args.small, args.data, args.weights)
        if args.do == "run":
            flags = (*more, *(["--device", args.device] if args.device else []))
            run(name, study, place, only=tuple(args.only), jobs=args.jobs, more=flags)
        elif args.do == "measure":
            measure(study, place, *args.only)
        elif args.do == "pack":
            pack(study, output, records)
        else:
            # the pages of other records lie beside these, and leave the committed ones alone
            write_pages(name, study, records, args.records / "made" if args.records else RECORDS.parent)


if __name__ == "__main__":
    command_line(main)
