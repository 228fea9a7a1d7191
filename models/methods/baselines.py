"""The methods that train on the real images alone: ERM and those of the paper's Tables 1 and 2.

What makes each of them what it is lies in its own file; here is how it is put to work. All train from where ERM
starts, with its schedule and its draws. Where an option `protocol` says "published", a method departs from that as its
own paper's experiments do.
"""

from dataclasses import replace

from models.methods.cvar_dro import WorstShareLoss
from models.methods.eiil import infer_environments
from models.methods.group_dro import GroupLoss, cell_groups, equal_chances
from models.methods.jtt import FIRST_LR, FIRST_WEIGHT_DECAY, error_weights, errors, with_copies
from models.methods.lff import FailureLoss, TwoNetworks
from models.seed_run import Outcome, SeedRun
from models.training import LAST_EPOCH, WORST_GROUP, predict
from utils.seeds import derived_seed, torch_generator

PUBLISHED = "published"


def erm(run: SeedRun, options: dict, plan=None) -> Outcome:
    """Empirical risk minimisation: the biased model of the seed."""
    return run.pre_train(run.experiment.real["train"], label="pre-train")


def cvar_dro(run: SeedRun, options: dict, plan=None) -> Outcome:
    """CVaR DRO: see `models.methods.cvar_dro`."""
    return run.pre_train(run.experiment.real["train"], label="cvar-dro", objective=WorstShareLoss(options["alpha"]))


def lff(run: SeedRun, options: dict, plan=None) -> Outcome:
    """LfF: see `models.methods.lff`."""
    train = run.experiment.real["train"]
    networks = TwoNetworks(run.new_network(), run.new_network(derived_seed(run.seed, "lff biased network")))
    factor = options["q"] if options["protocol"] == PUBLISHED else 1.0
    objective = FailureLoss(train.target, options["q"], options["momentum"], factor)
    outcome = run.pre_train(train, label="lff", network=networks, objective=objective)
    return outcome._replace(model=networks.debiased)


def jtt(run: SeedRun, options: dict, plan=None) -> Outcome:
    """JTT: see `models.methods.jtt`."""
    train, published = run.experiment.real["train"], options["protocol"] == PUBLISHED
    usual = run.experiment.pre_training
    lr, weight_decay = (FIRST_LR, FIRST_WEIGHT_DECAY) if published else (usual.lr, usual.weight_decay)
    lr = lr if options["first-lr"] is None else options["first-lr"]
    weight_decay = weight_decay if options["first-weight-decay"] is None else options["first-weight-decay"]
    brief = replace(usual, epochs=options["epochs"], lr=lr, weight_decay=weight_decay)
    select_by = LAST_EPOCH if published else None
    first = run.pre_train(train, label="jtt, first model", schedule=brief, select_by=select_by).model
    wrong = errors(train.target, predict(first, train, run.experiment.compute))
    if published:
        copies = train.subset(with_copies(wrong, options["weight"]))
        return run.pre_train(copies, label="jtt", select_by=WORST_GROUP)
    return run.pre_train(train, label="jtt", sampling=error_weights(wrong, options["weight"]))


def eiil(run: SeedRun, options: dict, plan=None) -> Outcome:
    """EIIL: see `models.methods.eiil`."""
    train = run.experiment.real["train"]
    if options["protocol"] == PUBLISHED:
        brief = replace(run.experiment.pre_training, epochs=1)
        reference = run.pre_train(train, label="eiil, reference", schedule=brief).model
    else:
        reference = run.biased_model()
    logits = predict(reference, train, run.experiment.compute)
    generator = torch_generator(run.seed, "eiil")
    places = infer_environments(train.target, logits, steps=options["steps"], lr=options["lr"], generator=generator)
    return _robust(run, 2 * train.target + places, 4, options["step-size"], "eiil")


def group_dro(run: SeedRun, options: dict, plan=None) -> Outcome:
    """Group DRO: see `models.methods.group_dro`. It trains on protected labels."""
    train = run.experiment.real["train"]
    groups = cell_groups(train.target, train.protected, len(train.cells) // 2)
    select_by = WORST_GROUP if options["protocol"] == PUBLISHED else None
    return _robust(run, groups, len(train.cells), options["step-size"], "group-dro", select_by)


def _robust(run: SeedRun, groups, count: int, step_size: float, label: str, select_by: str | None = None) -> Outcome:
    objective, chances = GroupLoss(groups, count, step_size), equal_chances(groups)
    train = run.experiment.real["train"]
    return run.pre_train(train, label=label, objective=objective, sampling=chances, select_by=select_by)
