"""The tables of the page."""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from results.studies.settings_rule.cases import Case, cases, odds_of
from results.studies.settings_rule.rules import RULES, TAKEN, Outcome, outcome, outcomes
from results.text import as_table

COUNTS = (10, 20, 30, 50, 100, 200)
DRAWS = 200
THREE = ("paper", "hold_0.01", "follow_0.002")
GRIDS = {  # methods and settings; None: all
    "AIM-Fair with the paper's settings": (("aim-fair",), ("paper",)),
    "AIM-Fair with three settings": (("aim-fair",), THREE),
    "AIM-Fair with seven settings": (("aim-fair",), None),
    "full with three settings": (("full",), THREE),
    "AIM-Fair and linear probing with three": (("aim-fair", "linear-probe"), THREE),
    "AIM-Fair, full and linear probing with three": (("aim-fair", "full", "linear-probe"), THREE),
    "all": (None, None),
}


def of_rules(records: Path) -> list[str]:
    """Return a row for each rule: means over all cases, and the worst case."""
    found = cases(records)
    rows = [("rule", "accuracy", "odds", "to ERM", "worst case", "regret in odds", "worst regret")]
    for name, rule in RULES.items():
        got, shown = outcomes(rule, found), f"**{name}**" if name == TAKEN else name
        rows.append((shown, *_means(got), _change(got), _worst(got), *_regrets(got)))
    return as_table(rows)


def left_out(records: Path) -> list[str]:
    """Return a row for each source: the rule that is best on the other sources, and what it is worth on this one."""
    found = cases(records)
    rows = [("left out", "cases", "best on the others", "accuracy, odds to ERM", "regret", f"regret of {TAKEN}")]
    for pair, source in dict.fromkeys((case.pair, case.source) for case in found):
        inside = [case for case in found if (case.pair, case.source) == (pair, source)]
        others = [case for case in found if case not in inside]
        name = min(_choosers(), key=lambda name: _loss(outcomes(RULES[name], others)))
        got, taken = outcomes(RULES[name], inside), outcomes(RULES[TAKEN], inside)
        regrets = (_regrets(each)[0] for each in (got, taken))
        rows.append((f"{pair}, {source}", str(len(inside)), name, _change(got), *regrets))
    return as_table(rows)


def each_or_once(records: Path) -> list[str]:
    """Return two rows: the candidate chosen anew for each seed, and one for all seeds of a source by the means over them."""
    each, once = [], []
    found = cases(records)
    for pair, source in dict.fromkeys((case.pair, case.source) for case in found):
        seeds = [case for case in found if (case.pair, case.source) == (pair, source)]
        shared = set.intersection(*({(c.method, c.setting) for c in case.candidates} for case in seeds))
        seeds = [
            replace(case, candidates=tuple(c for c in case.candidates if (c.method, c.setting) in shared))
            for case in seeds
        ]
        if len(seeds) < 3 or len(shared) < 2:
            continue
        together = replace(
            seeds[0],
            erm_val=mean(case.erm_val for case in seeds),
            candidates=tuple(
                replace(c, val=mean(s.candidates[i].val for s in seeds)) for i, c in enumerate(seeds[0].candidates)
            ),
        )
        odds = np.mean([[odds_of(c.held_out) for c in case.candidates] for case in seeds], axis=0)
        place = RULES[TAKEN](together, odds)
        each += outcomes(RULES[TAKEN], seeds)
        once += [outcome(case, place) for case in seeds]
    rows = [("chosen", "cases", "accuracy, odds to ERM", "worst case", "regret", "worst regret")]
    for name, got in (("for each seed", each), ("once for all seeds", once)):
        rows.append((name, str(len(got)), _change(got), _worst(got), *_regrets(got)))
    return as_table(rows)


def _means(got: list[Outcome]) -> tuple[str, str]:
    """Return the mean accuracy and odds as text."""
    return f"{mean(o.accuracy for o in got):.1f}", f"{mean(o.odds for o in got):.1f}"


def _regrets(got: list[Outcome]) -> tuple[str, str]:
    """Return the mean regret and the largest as text."""
    return f"{mean(o.regret for o in got):.1f}", f"{max(o.regret for o in got):.1f}"


def _change(got: list[Outcome]) -> str:
    """Return the mean changes of accuracy and odds to ERM as text."""
    return f"{mean(o.gain for o in got):+.1f} / {mean(o.change for o in got):+.1f}"


def _worst(got: list[Outcome]) -> str:
    """Return the worst change of accuracy and the worst of odds as text."""
    return f"{min(o.gain for o in got):+.1f} / {max(o.change for o in got):+.1f}"


def _choosers() -> list[str]:
    return [name for name in RULES if name.startswith(("within", "accuracy")) and "," not in name]


def _loss(got: list[Outcome]) -> float:
    """Return the mean regret, and as much again for each point of accuracy lost in the mean of the cases that lose any."""
    return mean(o.regret for o in got) + mean(max(0.0, -o.gain) for o in got)


def by_count(records: Path) -> list[str]:
    """Return a row for each number of held-out images a group, thinned out from those recorded, `DRAWS` times."""
    found = [case for case in cases(records) if min(c.count for c in case.candidates) >= COUNTS[-1]]
    rng, rows = np.random.default_rng(0), [("held-out images of a group", "odds, to ERM", "regret")]
    for count in COUNTS:
        drawn = [outcome(case, RULES[TAKEN](case, _thinned(case, count, rng))) for case in found for _ in range(DRAWS)]
        rows.append((str(count), f"{mean(o.change for o in drawn):+.1f}", f"{mean(o.regret for o in drawn):.1f}"))
    return [f"{len(found)} cases have {COUNTS[-1]} held-out images of each group:", "", *as_table(rows)]


def _thinned(case: Case, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the odds of each candidate on `count` images of each group, drawn without replacement; candidates independently."""
    right = [np.rint(c.held_out * c.count).astype(int) for c in case.candidates]
    drawn = [rng.hypergeometric(hits, c.count - hits, count) for hits, c in zip(right, case.candidates, strict=True)]
    return odds_of(np.array(drawn) / count)


def by_candidates(records: Path) -> list[str]:
    """Return a row for each set of candidates, over the cases that have every setting."""
    found = [case for case in cases(records) if {c.setting for c in case.candidates} >= set(THREE) and case.seed == 100]
    rows = [("candidates", "fine-tunings", "accuracy", "odds", "to ERM", "worst case")]
    for name, (methods, settings) in GRIDS.items():
        kept = [_only(case, methods, settings) for case in found]
        got = outcomes(RULES[TAKEN], kept)
        many = f"{mean(len(case.candidates) for case in kept):.0f}"
        rows.append((name, many, *_means(got), _change(got), _worst(got)))
    return as_table(rows)


def _only(case: Case, methods: tuple[str, ...] | None, settings: tuple[str, ...] | None) -> Case:
    kept = [
        c for c in case.candidates if c.method in (methods or [c.method]) and c.setting in (settings or [c.setting])
    ]
    return replace(case, candidates=tuple(kept))
