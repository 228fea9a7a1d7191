"""In which order methods are recorded: first what trains, then, once that is done for all seeds, what chooses among the results."""

from collections.abc import Iterator

from models.auto import choose_once, judge
from models.choice import Choice
from models.experiment import Experiment
from models.options import Method
from utils.records import read_record, record_folder


def stages(experiment: Experiment) -> Iterator[list[Method]]:
    """Yield methods to record for every seed, stage by stage; each stage must be recorded before the next one is asked for.

    A choice is made once for all seeds of the experiment, by means over them: results/records/settings_rule shows that this loses less
    than a choice for each seed. If the candidates were short trials, the best is trained in full in a stage of its own.
    """
    yield [method for method in experiment.methods if not method.chooses]
    choosers = [method for method in experiment.methods if method.chooses and not _recorded(experiment, method)]
    candidates = {method.label: tuple(other.label for other in experiment.made_from(method)) for method in choosers}
    finals = {}
    for method in choosers:
        if experiment.finalists.keys() & candidates[method.label]:
            trial = _choose(experiment, method, candidates[method.label])
            if trial in experiment.finalists:
                print(f"{trial} is the best trial, and is trained in full", flush=True)
                finals[trial] = experiment.finalists[trial]
                candidates[method.label] += (finals[trial].label,)
    if finals:
        yield list(finals.values())
    for method in choosers:
        _choose(experiment, method, candidates[method.label])
    yield [method for method in experiment.methods if method.chooses]


def _recorded(experiment: Experiment, method: Method) -> bool:
    settings = experiment.settings
    folders = [record_folder(settings.output, method.folder, seed) for seed in settings.seeds]
    return all(read_record(folder) for folder in folders)


def _choose(experiment: Experiment, method: Method, labels: tuple[str, ...]) -> str:
    """Choose among recorded results for a method, note the choice in the experiment, and return the label that it takes.

    Processes that share the seeds share the judging, too.
    """
    tables = {}
    for run in experiment.runs():
        synthetic = experiment.sets[method.label].of_seed(run.seed)
        path = experiment.settings.output / method.folder / f"judged_{run.seed}.csv"
        tables[run.seed] = judge(run, labels, synthetic, method.options["threshold"], path)
    label, step = choose_once(list(tables.values()))
    experiment.choices[method.label] = {seed: Choice(label, step, table) for seed, table in tables.items()}
    return label
