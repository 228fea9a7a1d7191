"""Made-up records of runs on the toy faces, for the tests of the report and the model card."""

import json

import numpy as np
import pandas as pd
from PIL import Image

from datasets.real import read_real
from utils.metrics import GROUPS, fairness_metrics

REAL = {
    "dataset": "toy", "target": "Smiling", "protected": ["Male"], "bias_degree": "1/3", "number_train_data_real": 40,
    "weights": "none", "width": 0.125, "image_size": 32, "epochs": 2, "lr": 0.01,
}  # fmt: skip
OWN = {
    "top_k": 55, "bias_degree": "1/3", "prompt_type": "contextual", "number_balanced_synthetic": 4,
    "number_imbalanced_synthetic": 16, "held_out_synthetic": 2, "epochs": 2, "lr": 0.06,
}  # fmt: skip


def labels(toy):
    """The names and labels of the toy test faces."""
    test = read_real("toy", toy, "Smiling_Male").tables["test"]
    return pd.DataFrame(
        {"name": test.index, "target": test["Smiling"].gt(0) * 1, "protected": test["Male"].gt(0) * 1}
    ).reset_index(drop=True)


def put(runs, toy, method, seed, errors, *, repeat=10, real=(), **more):
    """A record whose predictions are wrong in the given fraction of each group; the test set is the toy one, repeated.

    Returns its folder.
    """
    test = pd.concat([labels(toy)] * repeat, ignore_index=True)
    wrong = np.zeros(len(test), bool)
    rng = np.random.default_rng(seed)
    for group, fraction in zip(GROUPS, errors, strict=True):
        members = np.flatnonzero((test["target"] == int(group[0])) & (test["protected"] == int(group[2])))
        wrong[rng.permutation(members)[: round(fraction * len(members))]] = True
    prediction = test["target"].to_numpy() ^ wrong
    metrics = fairness_metrics(test["target"], test["protected"], prediction)
    own = {} if method == "erm" else OWN
    settings = {**REAL, **dict(real)} if method == "erm" else {"biased_model": {**REAL, **dict(real)}, **own}
    record = {
        "method": method, "seed": seed, "metrics": metrics, "val_metrics": metrics, "settings": settings,
        "command": "python train.py --dataset toy", "device": "a machine", "commit": "0123456789", "python": "3.11",
        "versions": {"torch": "2.9"}, "seconds": {"train": 30.0},
    } | more  # fmt: skip
    folder = runs / method.replace(":", "_").replace("/", "-") / f"seed_{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(record))
    test.assign(logit=prediction - 0.5).to_csv(folder / "test_predictions.csv", index=False)
    curve = {"epoch": [1, 2], "val_accuracy": [0.5 + seed / 10000, metrics["accuracy"]]}
    pd.DataFrame(curve).to_csv(folder / "curve.csv", index=False)
    if method == "aim-fair":
        names = ["conv1.weight", "layer1.0.bn1.bias", "fc.weight", "fc.bias"]
        ranks = {"name": names, "domain_rank": [1, 2, 4, 3], "bias_rank": [2, 3, 1, 4]}
        pd.DataFrame({**ranks, "chosen": [True, seed == 100, False, False]}).to_csv(
            folder / "sensitivity.csv", index=False
        )
    return folder


def put_four(runs, toy, **more):
    """Three seeds of ERM, which is unfair, of AIM-Fair and a full fine-tuning, which are less so, and of k chosen by itself."""
    for seed in (100, 200, 300):
        shift = seed / 10000
        put(runs, toy, "erm", seed, [0.3 + shift, 0.05, 0.05, 0.3 + shift], **more)
        put(runs, toy, "aim-fair", seed, [0.1, 0.05 + shift, 0.1, 0.1], **more)
        put(runs, toy, "full", seed, [0.2, 0.1, 0.1 + shift, 0.25], **more)
        auto = put(runs, toy, "aim-fair:top-k=auto", seed, [0.15, 0.1, 0.1, 0.15 + shift], chosen_top_k=50, **more)
        table = {"top_k": [40, 50, 55], "val_accuracy": [0.7, 0.81, 0.815]}
        table["held_out_equalized_odds"] = [0.01, 0.03, 0.2]
        pd.DataFrame(table).to_csv(auto / "top_k.csv", index=False)
    return runs


def put_synthetic(root, scores=True):
    """Three images of each group of Smiling_Male, with scores of which one a group is low."""
    folder = root / "Smiling_Male" / "contextual"
    lines = ["image,Smiling,Male,faithfulness,scorer"]
    for n, group in enumerate(GROUPS):
        (folder / group).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (32, 40), (60 * n, 80 * i, 90)).save(folder / group / f"{i}.png")
            lines.append(f"{group}/{i}.png,0.9,{0.2 + 0.3 * i:.1f},{0.2 + 0.3 * i:.1f},a <judge>")
    if scores:
        (folder / "faithfulness.csv").write_text("\n".join(lines) + "\n")
    return root
