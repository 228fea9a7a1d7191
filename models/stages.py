"""In which order methods are recorded: first what trains, then, once that is done for all seeds, what chooses among the results."""

from collections.abc import Iterator

from models.auto import BIASED, choose_once, judge
from models.choice import Choice
from models.experiment import Experiment
from models.options import Method
from models.run import Run
from models.sharing import note_divergence
from utils.errors import Diverged
from utils.records import read_record, record_folder


def stages(experiment: Experiment) -> Iterator[list[Method]]:
    """Yield methods to record for every seed, stage by stage; each stage must be recorded before the next one is asked for.

    A choice is made once for all seeds of the experiment, by means over them: results/records/settings_rule shows that this loses less
    than a choice for each seed. If the candidates were short trials, the best is trained in full in a stage of its own.
    """
    yield [method for method in experiment.methods if not method.chooses]
    seeds = experiment.settings.seeds
    choosers = [method for method in experiment.methods if method.chooses]
    choosers = [method for method in choosers if not all(experiment.is_recorded(method, seed) for seed in seeds)]
    candidates = {method.label: experiment.made_from(method) for method in choosers}
    finals = {}
    for method in choosers:
        if in_full := experiment.finalists[method.label]:
            trial = _choose(experiment, method, candidates[method.label])
            if trial in in_full:
                print(f"{trial} is the best trial, and is trained in full", flush=True)
                finals[trial] = in_full[trial]
                candidates[method.label].append(finals[trial])
    if finals:
        yield experiment.with_candidates(list(finals.values()))
    for method in choosers:
        _choose(experiment, method, candidates[method.label])
    yield [method for method in experiment.methods if method.chooses]


def record(experiment: Experiment, method: Method, run: Run) -> None:
    """Record a method; if its training diverges, say so and go on, because that costs no other method but those made from it.

    Raises `Diverged` if it is the biased model, from which all others start.
    """
    folder = record_folder(experiment.settings.output, method.folder, run.seed)
    choice = experiment.choices.get(method.label, {}).get(run.seed)
    if choice and (found := read_record(folder)) and choice.differs(found.content["chosen"]):
        taken = f"{choice.candidate}, step {choice.step:g},"
        print(f"note: over the seeds of this call {taken} is better; remove {folder} to take it")
    try:
        experiment.record(method, run)
    except Diverged as error:
        if method.name == BIASED:
            raise
        print(f"{error}; without it the others go on", flush=True)
        note_divergence(experiment.settings.output, method, run.seed)
        experiment.diverged += [str(error)] if method.label in experiment.asked else []


def report_diverged(experiment: Experiment) -> None:
    """Raise `Diverged` if a method that was asked for did; what is only a candidate of a choice may diverge."""
    if experiment.diverged:
        more = f" (and {len(experiment.diverged) - 1} more diverged)" if len(experiment.diverged) > 1 else ""
        raise Diverged(experiment.diverged[0] + more)


def _choose(experiment: Experiment, method: Method, candidates: list[Method]) -> str:
    """Choose among the results that all seeds have, note the choice in the experiment, and return the label that it takes.

    What diverged for a seed is no candidate. Processes that share the seeds share the judging, too.
    """
    seeds, tables = experiment.settings.seeds, {}
    labels = [each.label for each in candidates if all(experiment.is_recorded(each, seed) for seed in seeds)]
    for run in experiment.runs():
        synthetic = experiment.sets[method.label].of_seed(run.seed)
        tables[run.seed] = judge(run, labels, synthetic.held_out, method.options["threshold"])
    label, step = choose_once(list(tables.values()))
    experiment.choices[method.label] = {seed: Choice(label, step, table) for seed, table in tables.items()}
    return label
