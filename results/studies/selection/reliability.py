"""Is a criterion noise? The ranks that it gives to the tensors on one half of the images beside those on the other; nothing is trained."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from datasets.images import LabelledImages
from models.criteria import CRITERIA, Moments
from models.methods.criterion import set_moments
from models.run import Run
from models.selection import Gradients, mean_absolute_gap, smallest_k
from results.biased_models import biased_models
from results.studies import Finding, Place

REAL = 2000  # real images, because all would take most of the time
AIM_FAIR = "aim-fair"


def halves(arm: str, flags: tuple[str, ...], place: Place) -> Iterator[Finding]:
    """Measure every criterion on two halves of the images, for each biased model of an arm.

    A finding holds, by criterion, Spearman's correlation of the tensors' scores in the two halves (`halves`), and with what the size of
    their gradients on balanced images alone would give, the mean of both halves (`size`).
    """
    kept = {}
    for run, synthetic in biased_models(arm, flags, place):
        step = max(1, len(run.real["train"]) // REAL)
        real = run.real["train"].subset(np.arange(0, len(run.real["train"]), step))
        sets = {"real": real, "biased": synthetic.biased, "balanced": synthetic.balanced}
        found = [scores(run, {name: half(data, first) for name, data in sets.items()}) for first in (0, 1)]
        kept[run.seed] = found[0]
        row = {
            by: {
                "halves": correlation(found[0][by], found[1][by]),
                "size": float(np.mean([correlation(each[by], by_size(by, each["gradient"])) for each in found])),
            }
            for by in found[0]
        }
        yield Finding(f"seed {run.seed}", row)
    for by in found[0] if len(kept) > 1 else ():
        apart = [correlation(one[by], two[by]) for one, two in combinations(kept.values(), 2)]
        yield Finding(f"biased models, {by}", float(np.mean(apart)))


def half(data: LabelledImages, first: int) -> LabelledImages:
    """Return every second image of a set, from the first or from the second on; groups lie together, so each is halved."""
    return data.subset(np.arange(first, len(data), 2))


def scores(run: Run, sets: dict[str, LabelledImages]) -> dict[str, dict[str, float]]:
    """Return each tensor's score by each criterion; AIM-Fair's is the smallest k that chooses it, with its sign turned."""
    model = run.biased_model()
    found = set_moments(run, model, **sets)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return {by: score(weights, *found) for by, score in ({AIM_FAIR: aim_fair} | CRITERIA).items()}


def aim_fair(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    """Return minus the smallest k with which AIM-Fair chooses a tensor."""
    return minus_k(mean_absolute_gap(real.mean, biased.mean), mean_absolute_gap(biased.mean, balanced.mean))


def minus_k(domain_gap: dict[str, float], bias_gap: dict[str, float]) -> dict[str, float]:
    """Return minus the smallest k for each tensor, so that the first to be chosen has the highest score."""
    return {name: -float(k) for name, k in smallest_k(domain_gap, bias_gap).items()}


def by_size(by: str, size: dict[str, float]) -> dict[str, float]:
    """Return the scores if a criterion looked at the size of the gradients alone."""
    return minus_k(size, size) if by == AIM_FAIR else size


def correlation(one: dict[str, float], two: dict[str, float]) -> float:
    """Return Spearman's correlation of the tensors' scores."""
    return float(spearmanr(list(one.values()), [two[name] for name in one]).statistic)
