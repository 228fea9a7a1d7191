"""One step of `python -m results.gpu`, in a process of its own: writes a line for each thing that it finds."""

import argparse
import json
from pathlib import Path

from results.gpu import drawing, training, whole
from results.gpu.work import Place
from utils.errors import command_line

STEPS = {
    "machine": whole.machine,
    "agree": training.agree,
    "deterministic": training.deterministic,
    "resume": training.resume,
    "precision": training.precision,
    "generation": drawing.generation,
    "runner": whole.runner,
    "compile": training.compiled,
    "compile_drawing": drawing.compiled,
    "speed": whole.speed,
    "generation_speed": whole.generation_speed,
    "speed_fp32": whole.speed_fp32,
    "ten_seeds": whole.ten_seeds,
}


def main() -> None:
    """Run the step; its rows go to <work>/<step>.rows as they are found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=tuple(STEPS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    place = Place(args.work, args.output, args.device, args.small)
    with open(args.work / f"{args.step}.rows", "w") as file:
        for what, value, *holds in STEPS[args.step](place):
            row = {"what": what, "value": value, **({"holds": bool(holds[0])} if holds else {})}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    command_line(main)
