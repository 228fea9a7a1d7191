"""The methods that train on the real images alone: ERM and those of the paper's Tables 1 and 2.

What makes each of them what it is lies in its own file; here is how it is put to work. All train from where ERM
starts, with its schedule and its draws.
"""

from dataclasses import replace

from models.methods.cvar_dro import WorstShareLoss
from models.methods.eiil import infer_environments
from models.methods.group_dro import GroupLoss, cell_groups, equal_chances
from models.methods.jtt import error_weights
from models.methods.lff import FailureLoss, TwoNetworks
from models.seed_run import Outcome, SeedRun
from models.training import predict
from utils.seeds import derived_seed, torch_generator


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
    objective = FailureLoss(train.target, options["q"], options["momentum"])
    outcome = run.pre_train(train, label="lff", network=networks, objective=objective)
    return outcome._replace(model=networks.debiased)


def jtt(run: SeedRun, options: dict, plan=None) -> Outcome:
    """JTT: see `models.methods.jtt`."""
    train = run.experiment.real["train"]
    brief = replace(run.experiment.pre_training, epochs=options["epochs"])
    first = run.pre_train(train, label="jtt, first model", schedule=brief).model
    weights = error_weights(train.target, predict(first, train, run.experiment.compute), options["weight"])
    return run.pre_train(train, label="jtt", sampling=weights)


def eiil(run: SeedRun, options: dict, plan=None) -> Outcome:
    """EIIL: see `models.methods.eiil`."""
    train = run.experiment.real["train"]
    logits = predict(run.biased_model(), train, run.experiment.compute)
    generator = torch_generator(run.seed, "eiil")
    places = infer_environments(train.target, logits, steps=options["steps"], lr=options["lr"], generator=generator)
    return _robust(run, 2 * train.target + places, 4, options["step-size"], "eiil")


def group_dro(run: SeedRun, options: dict, plan=None) -> Outcome:
    """Group DRO: see `models.methods.group_dro`. It trains on protected labels."""
    train = run.experiment.real["train"]
    protected_groups = len(train.cells) // 2
    groups = cell_groups(train.target, train.protected, protected_groups)
    return _robust(run, groups, len(train.cells), options["step-size"], "group-dro")


def _robust(run: SeedRun, groups, count: int, step_size: float, label: str) -> Outcome:
    objective = GroupLoss(groups, count, step_size)
    return run.pre_train(run.experiment.real["train"], label=label, objective=objective, sampling=equal_chances(groups))
