"""What goes on around rendering: batches that don't fit, the batch that fits best, and files that can't be written."""

import json

import numpy as np
import pytest
import torch

from stable_diffusion.drawing import produce as produced
from stable_diffusion.drawing.produce import halving, largest_batch, produce
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.family import PAPER
from stable_diffusion.manifest import Manifest, noted_batch_size
from stable_diffusion.plan import Job
from stable_diffusion.recipe import sampler
from utils.errors import UserError

SAMPLING = Sampling(steps=1, guidance_scale=1.0, size=8, save_size=8)


def rendered_up_to(limit, calls):
    def render_jobs(batch):
        calls.append(len(batch))
        if len(batch) > limit:
            raise torch.OutOfMemoryError("too many")
        return np.array(batch)

    return render_jobs


def test_a_batch_that_does_not_fit_is_halved_until_it_does(capsys):
    calls = []
    images = halving(rendered_up_to(2, calls), list(range(7)))
    assert images.tolist() == list(range(7))
    assert max(calls[calls.index(3) + 1 :]) <= 4 and "out of memory at 7" in capsys.readouterr().out


def test_an_image_that_does_not_fit_alone_says_what_to_do():
    with pytest.raises(UserError, match="--precision fp16"):
        halving(rendered_up_to(0, []), [1, 2])


@pytest.mark.parametrize(("free", "expected"), [(1000, 8), (50, 1), (10**6, 64)])
def test_the_largest_batch_follows_from_the_peaks_of_two_trials(monkeypatch, free, expected):
    counts = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 500 + 100 * counts[-1])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 600)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**9))
    assert largest_batch(counts.append, torch.device("cuda")) == expected
    assert counts == [2, 4]


def jobs(count):
    return [Job(f"0_0/{i:06d}.png", "0_0", f"prompt {i % 2}", i) for i in range(count)]


@pytest.fixture
def stub(monkeypatch):
    """Rendering that paints each image in the grey of its seed."""
    monkeypatch.setattr(produced, "check_lengths", lambda *_: None)
    monkeypatch.setattr(
        produced,
        "render",
        lambda _, prompts, seeds, **options: np.stack([np.full((8, 8, 3), seed, np.uint8) for seed in seeds]),
    )


def test_every_image_is_written_and_noted_once(stub, tmp_path):
    produce(None, jobs(7), Manifest(tmp_path, {}, 3, []), SAMPLING)
    first, *lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [job.image for job in jobs(7)]
    assert len(list(tmp_path.glob("0_0/*.png"))) == 7 and noted_batch_size(tmp_path, {}) == 3


def test_a_failure_to_write_ends_the_run_and_loses_nothing_written(stub, tmp_path, monkeypatch):
    whole = produced.save_whole

    def full_after_four(image, path):
        if path.stem >= "000004":
            raise OSError(28, "No space left on device")
        whole(image, path)

    monkeypatch.setattr(produced, "save_whole", full_after_four)
    manifest = Manifest(tmp_path, {}, 2, [])
    with pytest.raises(OSError, match="No space left"):
        produce(None, jobs(40), manifest, SAMPLING)
    assert len(list(tmp_path.glob("0_0/*.png"))) == 4
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == 1 + 4


def test_more_steps_than_the_model_knows_are_refused():
    with pytest.raises(UserError, match="--steps 1001"):
        sampler("ddim", 1001, False, PAPER)


def test_fast_changes_only_what_is_not_given():
    assert sampler(None, None, False, PAPER) == ("ddim", 50)
    assert sampler(None, None, True, PAPER) == ("dpmpp", 20)
    assert sampler("euler", None, True, PAPER) == ("euler", 20) and sampler(None, 30, True, PAPER) == ("dpmpp", 30)
