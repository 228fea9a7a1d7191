"""Is a criterion noise, and does AIM-Fair's rule look at more than the size of the gradients? Nothing is trained."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from datasets.images import LabelledImages
from models.criteria import CRITERIA, Moments, parts_by, tensor_scores
from models.methods.criterion import WEIGHTS_BY, moments_of
from models.run import Run
from models.selection import Gradients, mean_absolute_gap, smallest_k
from models.top_k import PAPER_TOP_K
from models.training import Masks
from results.biased_models import biased_models
from results.studies import Finding, Place

REAL = 2000  # real images of the halves, because all would take most of the time
SHARE = 0.05  # of the weights
AIM_FAIR = "aim-fair"


def halves(arm: str, flags: tuple[str, ...], place: Place) -> Iterator[Finding]:
    """Measure every criterion on two halves of the images, and AIM-Fair's rule on all of them, for each biased model of an arm.

    seed N : by criterion, Spearman's correlation of the tensors' scores in the two halves (`halves`), and with what the size of their
        gradients alone would give, the mean of both halves (`size`); the percentage of the weights that the masks of both halves share, of
        all weights (`weight`) and of each neuron's (`neuron`)
    seed N, ranking : `size` of AIM-Fair's own rankings, on all images, and how many tensors its mask shares with that by size
    biased models, C : the mean correlation of a criterion's scores between two biased models, on the first half
    """
    kept = {}
    for run, synthetic in biased_models(arm, flags, place):
        real = run.real["train"]
        sets = {"real": real.subset(np.arange(0, len(real), max(1, len(real) // REAL)))}
        sets |= {"biased": synthetic.biased, "balanced": synthetic.balanced}
        both = [scores(run, {name: half(data, part) for name, data in sets.items()}, part) for part in (0, 1)]
        (kept[run.seed], masks), (other, other_masks) = both
        found = {by: beside(by, kept[run.seed], other) for by in other}
        for (by, unit), mask in masks.items():
            found[by][unit] = shared(mask, other_masks[by, unit])
        yield Finding(f"seed {run.seed}", found)
        yield Finding(f"seed {run.seed}, ranking", whole_ranking(*run.three_gradients(synthetic)))
    for by in other if len(kept) > 1 else ():
        apart = [correlation(one[by], two[by]) for one, two in combinations(kept.values(), 2)]
        yield Finding(f"biased models, {by}", float(np.mean(apart)))


def half(data: LabelledImages, part: int) -> LabelledImages:
    """Return every second image of each group: `part` 0 is the first half, 1 the second."""
    order = np.lexsort((data.protected, data.target))
    return data.subset(np.sort(order[part::2]))


def scores(
    run: Run, sets: dict[str, LabelledImages], part: int
) -> tuple[dict[str, dict], dict[tuple[str, str], Masks]]:
    """Return each tensor's score by each criterion on one half, and masks of `SHARE` by criterion and unit; the halves have streams of their own."""
    model = run.biased_model()
    found = moments_of(run, model, f"half {part}", **sets)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    of_tensors, masks = {AIM_FAIR: aim_fair(*found)}, {}
    for by in CRITERIA:
        parts = parts_by(by, weights, *found)
        of_tensors[by] = tensor_scores(by, parts)
        for unit, highest in WEIGHTS_BY.items() if by != "agreement" else ():
            masks[by, unit] = highest({name: each.of_weights() for name, each in parts.items()}, SHARE)
    return of_tensors, masks


def shared(one: Masks, two: Masks) -> float:
    """Return the percentage of the weights of one mask that are in the other; both have as many."""
    both = sum((mask & two[name]).sum().item() for name, mask in one.items() if name in two)
    return 100 * both / sum(mask.sum().item() for mask in one.values())


def aim_fair(real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    """Return minus the smallest k with which AIM-Fair chooses a tensor."""
    return minus_k(mean_absolute_gap(real.mean, biased.mean), mean_absolute_gap(biased.mean, balanced.mean))


def minus_k(domain_gap: dict[str, float], bias_gap: dict[str, float]) -> dict[str, float]:
    """Return minus the smallest k for each tensor, so that the first to be chosen has the highest score."""
    return {name: -float(k) for name, k in smallest_k(domain_gap, bias_gap).items()}


def by_size(by: str, size: dict[str, float]) -> dict[str, float]:
    """Return the scores if a criterion looked at the size of the gradients alone."""
    return minus_k(size, size) if by == AIM_FAIR else size


def beside(by: str, one: dict[str, dict[str, float]], two: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return a criterion's correlation between the halves, and with the size of the gradients."""
    size = float(np.mean([correlation(each[by], by_size(by, each["gradient"])) for each in (one, two)]))
    return {"halves": correlation(one[by], two[by]), "size": size}


def whole_ranking(real: Gradients, biased: Gradients, balanced: Gradients) -> dict[str, float]:
    """Return how AIM-Fair's own rankings agree with those by size: Spearman's correlation, and the tensors of both masks."""
    own = minus_k(mean_absolute_gap(real, biased), mean_absolute_gap(biased, balanced))
    size = minus_k(*[{name: gradient.abs().mean().item() for name, gradient in balanced.items()}] * 2)
    masks = [{name for name, k in each.items() if -k <= PAPER_TOP_K} for each in (own, size)]
    counts = {"mask": len(masks[0]), "shared": len(masks[0] & masks[1]), "by size": len(masks[1])}
    return {"size": correlation(own, size), **counts}


def correlation(one: dict[str, float], two: dict[str, float]) -> float:
    """Return Spearman's correlation of the tensors' scores."""
    return float(spearmanr(list(one.values()), [two[name] for name in one]).statistic)
