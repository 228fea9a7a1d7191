"""The fraction of each group's images that show what their group asks for, and whether groups differ by more than chance."""

import numpy as np
import pandas as pd

CHANCE = 0.01


def as_asked(probabilities: list[np.ndarray], asked: np.ndarray) -> np.ndarray:
    """Return the probability of the values asked for, each against the likeliest other value, float64 (n, attributes).

    So 0.5 means for any number of values that another one is as likely.

    probabilities : of each value of an attribute, float64 (n, values), for each attribute
    asked : number of the value, from 0, int64 (n, attributes)
    """

    def against_others(each: np.ndarray, values: np.ndarray) -> np.ndarray:
        rows, others = np.arange(len(each)), each.copy()
        others[rows, values] = -1
        return each[rows, values] / (each[rows, values] + others.max(axis=1))

    return np.stack([against_others(*pair) for pair in zip(probabilities, asked.T, strict=True)], axis=1)


def fraction_right(table: pd.DataFrame, attributes: tuple[str, ...]) -> pd.DataFrame:
    """Return for each group the number of images, and the percentage with a probability of 0.5 or more: each attribute's, and all.

    `table` has the column group and, for each attribute, the probability of the value asked for.
    """
    right = table[list(attributes)] >= 0.5
    right = right.assign(all=right.all(axis=1))
    return (100 * right.groupby(table["group"]).mean()).assign(images=table["group"].value_counts())


def differences(fractions: pd.DataFrame) -> list[str]:
    """Return a sentence for each column of `fraction_right` whose groups differ more than by chance (chi-square), or one for all."""
    from scipy.stats import chi2_contingency

    sentences = []
    for name in fractions.columns.drop("images"):
        right = (fractions[name] * fractions["images"] / 100).round()
        counts = np.array([right, fractions["images"] - right])
        if counts.shape[1] < 2 or not counts.sum(1).all() or (p := chi2_contingency(counts).pvalue) >= CHANCE:
            continue
        low, high = fractions[name].idxmin(), fractions[name].idxmax()
        gap, (one, other) = fractions.loc[high, name] - fractions.loc[low, name], right[[low, high]] + 1
        n, m = (
            fractions.loc[[low, high], "images"] + 2
        )  # an image more of each kind, so that 0 and 100 % have an error too
        error = 100 * np.sqrt(one / n * (1 - one / n) / n + other / m * (1 - other / m) / m)
        sentences.append(
            f"{name}: {fractions.loc[high, name]:.1f} % of {high} but {fractions.loc[low, name]:.1f} % of {low} are as asked, "
            f"{gap:.1f} points apart (standard error {error:.1f}; chi-square over the groups, p = {p:.1g}): this is a bias "
            "of the generated data itself"
        )
    return sentences or [f"the fractions of the groups differ no more than by chance (chi-square, p >= {CHANCE})"]
