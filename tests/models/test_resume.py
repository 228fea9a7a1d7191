"""Trainings that are broken off, by whatever, and started again: the result is that of an unbroken one."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support import ROOT, assert_one_line_error, run_here
from support.small import SMALL
from support.training import COMPUTE, Pulled, assert_same_results, bright_and_dark, generator, small_net

import train
from models.methods.group_dro import GroupLoss
from models.methods.lff import FailureLoss, TwoNetworks
from models.methods.surgical import surgical
from models.options import Method
from models.result import train_method
from models.schedule import LATE_MEAN, Schedule
from models.training import fit, mean_loss
from utils.checkpoint import Checkpoint, Unfinished
from utils.errors import UserError

SCHEDULE = Schedule(epochs=4, lr=0.1, weight_decay=1e-3, milestones=(2,))

MASKS = {"masked": [[True, False] * 2], "masked otherwise": [[False, True] * 2]}


def make(kind, data):
    model = small_net()
    if kind == "lff":
        return TwoNetworks(model, small_net()), FailureLoss(data.target, 0.7, 0.7)
    if kind == "group-dro":
        return model, GroupLoss(2 * data.target + data.protected, 4, 0.1)
    return model, mean_loss


def training(kind, *, checkpoint=None, at=None):
    data = bright_and_dark()
    model, objective = make(kind, data)
    if at:
        objective = Pulled(objective, at)
    options = {"objective": objective, "label": "test", "checkpoint": checkpoint}
    if kind == "sampling":
        options["sampling"] = 1.0 + data.target
    if kind == "surgical":
        run = SimpleNamespace(seed=1, settings=SimpleNamespace(compute=COMPUTE), fine_tune=lambda *_, **asked: asked)
        asked = surgical(run, small_net(), SimpleNamespace(balanced=data))
        options["rate_fractions"] = asked["rate_fractions"]
    if kind == "chosen":
        options["trainable"] = ["5.weight", "1.bias"]
    if kind in MASKS:
        options["trainable"] = {"5.weight": torch.tensor(MASKS[kind])}
    schedule = replace(SCHEDULE, select_by=LATE_MEAN) if kind == "mean" else SCHEDULE
    return model, fit(model, data, data, schedule, COMPUTE, generator=generator(), **options)


@pytest.mark.parametrize("kind", ["plain", "sampling", "chosen", "lff", "group-dro", "surgical", "mean", "masked"])
@pytest.mark.parametrize("at", [1, 7, 12, 20])
def test_interrupted_and_started_again_is_the_unbroken_training(tmp_path, capsys, kind, at):
    whole, whole_curve = training(kind)
    with pytest.raises(KeyboardInterrupt):
        training(kind, checkpoint=Checkpoint(tmp_path / "a.pt"), at=at)
    assert (tmp_path / "a.pt").exists() == (at > 5)  # five batches an epoch
    model, curve = training(kind, checkpoint=Checkpoint(tmp_path / "a.pt"))
    assert curve == whole_curve and "starts anew" not in capsys.readouterr().out
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [("plain", "chosen", "tensors"), ("masked", "masked otherwise", "weights"), ("plain", "masked", "weights")],
)
def test_a_training_that_finds_others_chosen_starts_anew_and_says_so(tmp_path, capsys, before, now, what):
    """A ranking may come out otherwise with other threads or on a GPU; the momentum of one tensor must not move another."""
    training(before, checkpoint=Checkpoint(tmp_path / "a.pt", seconds=0))
    model, curve = training(now, checkpoint=Checkpoint(tmp_path / "a.pt"))
    whole, whole_curve = training(now)
    assert curve == whole_curve and torch.equal(model[5].weight, whole[5].weight)
    assert f"other {what} are chosen" in capsys.readouterr().out


def test_a_finished_training_is_not_run_again(tmp_path):
    _, curve = training("plain", checkpoint=Checkpoint(tmp_path / "a.pt", seconds=0))
    assert training("plain", checkpoint=Checkpoint(tmp_path / "a.pt"), at=1)[1] == curve


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:]]
)
def test_a_damaged_checkpoint_is_said_and_costs_only_time(tmp_path, capsys, damage):
    whole, curve = training("plain", checkpoint=Checkpoint(tmp_path / "a.pt", seconds=0))
    (tmp_path / "a.pt").write_bytes(damage((tmp_path / "a.pt").read_bytes()))
    model, again = training("plain", checkpoint=Checkpoint(tmp_path / "a.pt"))
    assert again == curve and torch.equal(model[0].weight, whole[0].weight)
    assert "damaged" in capsys.readouterr().out


def test_a_checkpoint_of_other_settings_is_refused_with_both_shown(tmp_path):
    Unfinished(tmp_path / "seed_1", {"lr": 1})
    Unfinished(tmp_path / "seed_1", {"lr": 1})
    with pytest.raises(UserError, match="lr: 1 there, 2 asked"):
        Unfinished(tmp_path / "seed_1", {"lr": 2})


def test_a_clock_set_back_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    checkpoint = Checkpoint(tmp_path / "a.pt", seconds=0)
    checkpoint.keep({"a": torch.zeros(1)})
    assert checkpoint.load()["a"] == 0


def test_the_seconds_of_earlier_processes_count(tmp_path, monkeypatch):
    """A record's seconds are those of the whole training, less what a kill has cost."""
    now = [100.0]
    monkeypatch.setattr("utils.checkpoint.time.monotonic", lambda: now[0])
    for expected in (0, 7, 14):
        unfinished = Unfinished(tmp_path / "seed_1", {}, seconds=0)
        checkpoint = unfinished.checkpoint("pre-train")
        checkpoint.load()
        assert unfinished.spent == expected
        now[0] += 7
        checkpoint.keep({"a": torch.zeros(1)})
        now[0] += 30  # lost
    assert checkpoint.load().keys() == {"a"}


def command(toy, synthetic, output):
    base = ["--real-data-path", toy, "--synthetic-data-root", synthetic, "--output", output]
    epochs = ["--pre-train-epochs", 3, "--fine-tune-epochs", 3, "--width", 0.125, "--checkpoint-seconds", 0]
    return [str(part) for part in [*base, *SMALL, *epochs, "--methods", "jtt", "aim-fair", "--seeds", 100]]


def start(parts):
    parts = [sys.executable, "train.py", *parts]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # a shell's background jobs, of which the tests may be one, ignore Ctrl-C
    return subprocess.Popen(parts, cwd=ROOT, **options, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def wait_for_work(process):
    """Wait until it trains, by its progress bar, or ends."""
    any("seed 100" in line for line in process.stderr)


@pytest.fixture(scope="module")
def unbroken(toy, synthetic, tmp_path_factory):
    """An unbroken run, and the seconds it worked."""
    output = tmp_path_factory.mktemp("unbroken")
    process = start(command(toy, synthetic, output))
    wait_for_work(process)
    begin = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return output, time.monotonic() - begin


@pytest.mark.slow
def test_killed_at_random_moments_the_result_is_the_same(toy, synthetic, unbroken, tmp_path, request):
    expected, seconds = unbroken
    moments, kills, runs = random.Random(0), 0, 0
    while kills < (100 if request.config.getoption("--long") else 2):
        output = tmp_path / str(runs)
        process = start(command(toy, synthetic, output))
        wait_for_work(process)
        try:
            process.communicate(timeout=moments.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0
        assert_same_results(output, expected)
        runs += 1  # it came through between two kills: the next one hits a new run
    done = run_here(train.main, *command(toy, synthetic, output))
    assert done.returncode == 0, done.stderr
    assert_same_results(output, expected)
    print(f"{kills} kills, {runs} runs came through before the last")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_leaves_one_line_and_what_was_done(toy, synthetic, tmp_path, number):
    process = start(command(toy, synthetic, tmp_path))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/.seed_100.unfinished/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in errors
    assert errors.splitlines()[-1].endswith("interrupted; the same command goes on where it stopped")
    assert list(tmp_path.glob("*/.seed_100.unfinished/*.pt")) or list(tmp_path.glob("*/seed_100/metrics.json"))


@pytest.mark.slow
def test_two_processes_in_one_output_do_the_work_once(toy, synthetic, unbroken, tmp_path):
    expected, _ = unbroken
    first, second = start(command(toy, synthetic, tmp_path)), start(command(toy, synthetic, tmp_path))
    texts = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert sum(text.count("recorded already") for text in texts) == 3
    assert_same_results(tmp_path, expected)


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced_and_the_result_is_the_same(toy, synthetic, unbroken, tmp_path):
    expected, _ = unbroken
    process = start([*command(toy, synthetic, tmp_path), "--workers", "2"])
    for number in (signal.SIGKILL, signal.SIGTERM):
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("*/.seed_*.unfinished/*.pt")) and time.monotonic() < deadline:
            if process.poll() is not None:  # all is done already: there is nothing left to kill
                break
            time.sleep(0.01)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        for pid in found[:1]:
            os.kill(int(pid), number)
        time.sleep(1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert 1 <= errors.count("was stopped from outside") <= 2
    assert_same_results(tmp_path, expected)


def test_an_output_that_is_a_file_is_one_line(toy, synthetic, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line_error(run_here(train.main, *command(toy, synthetic, tmp_path / "file")), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_no_memory_says_which_flag():
    def hungry(run):
        raise torch.OutOfMemoryError

    run = SimpleNamespace(seed=1, settings=SimpleNamespace(batch_size=8))
    with pytest.raises(UserError, match=r"seed 1 erm: out of memory; lower --batch-size \(now 8\), or"):
        train_method(Method("erm", hungry, {}, "erm"), run, None)

    def full(run, biased_model):
        raise torch.OutOfMemoryError

    run = SimpleNamespace(
        seed=1, settings=SimpleNamespace(batch_size=8, fine_tune_batch_size=64), biased_model=lambda: None
    )
    with pytest.raises(UserError, match=r"--batch-size \(now 8\) or --fine-tune-batch-size \(now 64\)"):
        train_method(Method("full", full, {}, "full"), run, None)


def test_checkpoints_execute_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch /tmp/never",)

    checkpoint = Checkpoint(tmp_path / "a.pt", seconds=0)
    checkpoint.keep({"a": Evil()})
    with pytest.raises(Exception, match="[Ww]eights"):
        checkpoint.load()
    assert not os.path.exists("/tmp/never")
