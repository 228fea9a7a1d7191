"""What is measured of the classifier: training, validation, ranking and a whole seed, and what a switch gains."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from torch import nn

from models.small_maps import with_plain_convolutions
from models.work import images_trained
from results.shares import shares
from results.studies import Finding, Place
from results.studies.speed.bare import Bare
from results.studies.speed.bench import by_turns, draw_files, new_bench
from results.studies.speed.ours import Ours, train_epoch
from results.studies.speed.plain import Plain

KINDS = {
    "forward": "_forward_impl",
    "backward": "method 'run_backward'",
    "crops": "crop_and_resize",
    "decoding": "decode_images",
}


def compared(part: str, place: Place) -> Iterator[Finding]:
    """Measure a part, which is a method of all three: the plain procedure, ours, the bare network."""
    with new_bench(place) as bench:
        yield bench.setup()
        ours, count, compute = Ours(bench), bench.count, bench.compute
        if part == "training":
            yield Finding("decoding all images once, images/s", round(4 * count / ours.decoding))
        train_epoch(bench.new_model(), ours.sets["train"].subset(np.arange(2 * compute.batch_size) % count), compute)
        moving = ours.ranking() if part == "seed" else ()
        works = {"plain": Plain(bench), "ours": ours, "bare": Bare(bench.new_model(), compute, count, moving)}
        images = {"training": images_trained(count, compute), "validation": count}.get(part)
        named = {name: getattr(work, part) for name, work in works.items()}
        yield Finding(part, by_turns(named, bench.turns, compute.device, images))


def growth(place: Place) -> Iterator[Finding]:
    """Measure a seed of ours with the images once and twice."""
    with new_bench(place) as bench:
        yield bench.setup()
        twice = replace(bench, files=draw_files(bench.folder / "twice", 2 * bench.count))
        works = {"once": Ours(bench).seed, "twice": Ours(twice).seed}
        yield Finding("growth", by_turns(works, bench.turns, bench.compute.device))


def profile(place: Place) -> Iterator[Finding]:
    """Measure where the seconds of a seed of ours go."""
    with new_bench(place) as bench:
        yield bench.setup()
        (work := Ours(bench)).seed()  # warms up
        parts = ", ".join(f"{kind} {100 * part:.1f} %" for kind, part in shares(work.seed, KINDS).items())
        yield Finding("the seconds of a seed of ours", parts)


def switches(place: Place) -> Iterator[Finding]:
    """Measure work with a switch beside the same work without it."""
    with new_bench(place) as bench:
        yield bench.setup()
        model, sets, usual = bench.new_model(), Ours(bench).sets, bench.compute
        trained = images_trained(bench.count, usual)

        def epoch(network: nn.Module, compute=usual) -> Callable[[], None]:
            return partial(train_epoch, network, sets["train"], compute)

        def row(name: str, images: int, without: Callable[[], object], switched: Callable[[], object]) -> Finding:
            return Finding(name, by_turns({"without": without, "with": switched}, bench.turns, usual.device, images))

        epoch(model)()  # warms up
        if usual.amp:
            yield row("--precision bf16, training", trained, epoch(model, replace(usual, amp=False)), epoch(model))
            what = "small maps as one matrix product, bf16, training (no flag: built in)"
            yield row(what, trained, epoch(with_plain_convolutions(model)), epoch(model))
        if not (shutil.which("c++") or shutil.which("g++")):
            yield Finding("--compile", "not measured: no C++ compiler here")
            return
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(bench.folder / "compiler")  # empty, so that it compiles
        compiled, start = epoch(bench.new_model(), replace(usual, compile=True)), time.perf_counter()
        compiled()
        yield Finding("first epoch of --compile, compiling included, s", round(time.perf_counter() - start, 1))
        yield row("--compile, training", trained, epoch(model), compiled)
