"""The results as lines and as a page, beside the targets."""

from results.speed.turns import Row

# What to reach: on a CPU, where the network itself takes the time, a fraction of the bare network's speed; on a GPU how many times as
# fast as the paper's procedure, which decodes on the CPU there.
TARGETS = {
    "cpu": {
        "training": {"fraction": 0.95},
        "validation": {"fraction": 0.95},
        "ranking": {"fraction": 0.9},
        "seed": {"fraction": 0.9},
        "generation": {"fraction": 0.95},
    },
    "cuda": {
        "training": {"ratio": 5, "fraction": 0.85},
        "validation": {"ratio": 10},
        "ranking": {"ratio": 5},
        "seed": {"ratio": 6},
        "generation": {"ratio": 1.5},
    },
}
GROWTH = "growth"  # seconds of a seed with the images once, and twice
MOST_GROWTH = 2.05


def found(row: Row) -> dict[str, float]:
    """`ratio`: ours beside the paper's procedure; `possible`: the bare network beside it; `fraction`: ours beside the bare network."""
    return {
        "ratio": row.ratio("ours", "plain"),
        "possible": row.ratio("bare", "plain"),
        "fraction": row.ratio("ours", "bare"),
    }


def growth(row: Row) -> float:
    """How many times as long twice the images take."""
    return row.median("twice") / row.median("once")


def missed(name: str, row: Row, kind: str) -> list[str]:
    """The targets on a device of this kind, "cpu" or "cuda", that a row falls short of."""
    if name == GROWTH:
        return ["growth"] if growth(row) > MOST_GROWTH else []
    return [key for key, target in TARGETS[kind].get(name, {}).items() if found(row)[key] < target]


def unit(row: Row) -> str:
    """What a row's values are in."""
    return "images/s" if row.images else "s"


def show(name: str, row: Row) -> None:
    """Print a row."""
    values = ", ".join(f"{work} {row.value(work):.2f}" for work in row.seconds)
    print(f"{name:28}{values} {unit(row)}", flush=True)


def as_markdown(content: dict, rows: dict[str, Row], switches: dict[str, Row], kind: str) -> str:
    """The page of a result."""
    threads = ", ".join(f"{name} {value}" for name, value in content["thread_settings"].items())
    lines = [
        f"# {content['device']}",
        "",
        f"`{content['command']}` at commit {content['commit']}; torch {content['versions']['torch']}, python {content['python']}.",
        f"Medians of {content['turns']} turns, taken in alternation in one process. Threads: {threads}.",
    ]
    if set(rows) - {"generation"} or switches:
        width, height = content["source_size"]
        lines += [
            f"ResNet-18, {content['images']} images of {width} x {height} pixels in each set, used at {content['image_size']}; batch "
            f"{content['batch_size']}; ours and the bare network in {content['precision']}{', compiled' if content['compile'] else ''}, "
            f"the paper's procedure in fp32 with {content['workers_of_the_plain_procedure']} workers.",
        ]
    if "generation" in rows:
        lines += [
            f"Generation: Stable Diffusion 2.1-base with random weights, {content['generation']}, fp16 on a GPU, fp32 on a CPU."
        ]
    compared = {name: row for name, row in rows.items() if name != GROWTH}
    if compared:
        lines += [
            "",
            "| | paper's procedure | ours | bare network | | ours : paper's | the most possible | ours : bare | target |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(name, row, kind) for name, row in compared.items()]
        lines += [
            "",
            "The most possible: the bare network beside the paper's procedure. The bare network runs on one batch that lies in memory.",
        ]
    if switches:
        lines += ["", "| switch | without | with | | gain |", "|---|---|---|---|---|"]
        lines += [
            f"| {name} | {row.value('without'):.2f} | {row.value('with'):.2f} | {unit(row)} | x {row.ratio('with', 'without'):.2f} |"
            for name, row in switches.items()
        ]
    notes = dict(content["notes"])
    if GROWTH in rows:
        row = rows[GROWTH]
        verdict = f"{growth(row):.2f} times as long ({row.median('once'):.1f} s and {row.median('twice'):.1f} s)"
        notes[f"a seed of ours with twice the images (target: at most {MOST_GROWTH})"] = verdict
    return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in notes.items())]).rstrip() + "\n"


def _line(name: str, row: Row, kind: str) -> str:
    values = [f"{row.value(work):.2f}" for work in ("plain", "ours", "bare")]
    shown = [f"{found(row)[key]:.2f}" for key in ("ratio", "possible", "fraction")]
    names = {"ratio": "ours : paper's", "fraction": "ours : bare"}
    targets = [
        f"{names[key]} at least {target}{' (missed)' if key in missed(name, row, kind) else ''}"
        for key, target in TARGETS[kind].get(name, {}).items()
    ]
    return "| " + " | ".join([name, *values, unit(row), *shown, "; ".join(targets) or "–"]) + " |"
