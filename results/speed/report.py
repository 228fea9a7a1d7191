"""The results as lines and as a page, beside the targets."""

TARGETS = {  # ratios to reach, for a CPU and a GPU
    "training": (5, 5), "validation": (5, 10), "ranking": (5, 5), "seed": (5, 6), "share of the bare network": (0.85, 0.85),
    "generation": (1, 1.5), "growth": (2.05, 2.05),
}  # fmt: skip
SECONDS = ("ranking", "seed")  # rows in which less is better


def ratio(name: str, plain_value: float, our_value: float) -> float:
    """How many times as fast ours is; for shares ours itself, for growth how many times as long twice the images take."""
    if name == "share of the bare network":
        return our_value
    return plain_value / our_value if name in SECONDS else our_value / plain_value


def show(rows: dict) -> None:
    """Print the rows."""
    for name, (one, two, unit) in rows.items():
        print(f"{name:28}{one:10.2f}{two:10.2f}  {unit}; {ratio(name, one, two):.2f}", flush=True)


def as_markdown(content: dict, gpu: bool) -> str:
    """The result as a page."""
    generation = "generation" in content["rows"]
    classifier = len(content["rows"]) > generation
    text = f"""\
# {content["device"]}

`{content["command"]}` at commit {content["commit"]}; torch {content["versions"]["torch"]}, python {content["python"]}.
"""
    if classifier:
        text += f"""\
ResNet-18, {content["images"]} images of {" x ".join(map(str, content["source_size"]))} pixels in each set, used at \
{content["image_size"]}; batch {content["batch_size"]}; ours in {content["precision"]}{", compiled" if content["compile"] else ""},
the paper's procedure in fp32 with {content["workers_of_the_plain_procedure"]} workers.
"""
    if generation:
        text += "Generation: Stable Diffusion 2.1-base with random weights, fp16 on a GPU, fp32 on a CPU.\n"
    text += """
| | paper's procedure | ours | | ratio | target |
|---|---|---|---|---|---|
"""
    for name, (one, two, unit) in content["rows"].items():
        target = TARGETS[name][gpu]
        relation = "at most" if name == "growth" else "at least"
        text += f"| {name} | {one:.2f} | {two:.2f} | {unit} | {ratio(name, one, two):.2f} | {relation} {target} |\n"
    return text + "".join(f"\n- {key}: {value}" for key, value in content["notes"].items()) + "\n"
