"""Processes share the trainings of an experiment: which process takes which training, in which order."""

import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from models import sharing
from utils.files import locked
from utils.shared_work import MARK

NEEDS = {"erm": (), "jtt": (), "full": ("erm",), "aim-fair": ("erm",), "aim-fair:step=0.5": ("erm", "aim-fair")}
METHODS = {label: SimpleNamespace(label=label, folder=label.replace(":", "_")) for label in NEEDS}


class Other:
    """Another process: it holds locks, and records what it holds when it is asked to go on."""

    def __init__(self, output):
        self.output, self.held, self.locks = output, [], ExitStack()

    def take(self, label, seed):
        assert self.locks.enter_context(locked(sharing.lock_of(self.output, METHODS[label], seed), wait=False))
        self.held.append((label, seed))

    def go_on(self, recorded):
        self.locks.close()
        recorded.update(self.held)


def experiment(output, recorded, *, seeds=(1, 2), busy=()):
    def free_runs():
        for seed in seeds:
            if seed not in busy:
                yield SimpleNamespace(seed=seed)

    return SimpleNamespace(
        settings=SimpleNamespace(seeds=seeds, output=output),
        free_runs=free_runs,
        run=lambda seed: SimpleNamespace(seed=seed),
        starts_from=lambda method: [METHODS[label] for label in NEEDS[method.label]],
        is_recorded=lambda method, seed: (method.label, seed) in recorded,
    )


def taken(made, recorded):
    """Take all that there is, and record it; yield each."""
    for method, run in sharing.share(made, list(METHODS.values())):
        recorded.add((method.label, run.seed))
        yield method.label, run.seed


def test_alone_a_process_goes_seed_by_seed(tmp_path):
    recorded = set()
    assert list(taken(experiment(tmp_path, recorded), recorded)) == [
        (label, seed) for seed in (1, 2) for label in NEEDS
    ]


def test_a_seed_of_another_process_is_helped_with_what_its_biased_model_allows(tmp_path, monkeypatch):
    recorded, other = set(), Other(tmp_path)
    other.take("erm", 1)
    monkeypatch.setattr(sharing.time, "sleep", lambda _: other.go_on(recorded))  # it records while this one waits
    order = list(taken(experiment(tmp_path, recorded, busy=(1,)), recorded))
    assert order[:5] == [(label, 2) for label in NEEDS]
    assert order[5] == ("jtt", 1)  # which needs no biased model
    assert order[6:] == [(label, 1) for label in NEEDS if label != "jtt"]


def test_what_another_process_is_at_is_left_to_it(tmp_path, monkeypatch, capsys):
    recorded, other, mine = {("erm", 1)}, Other(tmp_path), []
    other.take("aim-fair", 1)
    monkeypatch.setattr(sharing.time, "sleep", lambda _: other.go_on(recorded))
    for label, seed in taken(experiment(tmp_path, recorded, seeds=(1,), busy=(1,)), recorded):
        mine.append((label, seed, set(other.held) <= recorded))
    # what is made from it comes after it
    assert [label for label, *_ in mine] == ["erm", "jtt", "full", "aim-fair", "aim-fair:step=0.5"]
    assert mine[-2:] == [("aim-fair", 1, True), ("aim-fair:step=0.5", 1, True)]
    assert "2 trainings are run by other processes; waiting" in capsys.readouterr().out


def test_what_a_dead_process_has_left_is_taken_over(tmp_path, monkeypatch):
    recorded, other = set(), Other(tmp_path)
    other.take("erm", 1)
    monkeypatch.setattr(sharing.time, "sleep", lambda _: other.locks.close())  # it dies and records nothing
    order = list(taken(experiment(tmp_path, recorded, seeds=(1,)), recorded))
    assert sorted(order) == sorted((label, 1) for label in NEEDS)


def test_what_diverged_for_another_worker_of_the_command_is_not_tried_again(tmp_path, monkeypatch):
    recorded = {(label, 1) for label in NEEDS if label != "full"}
    sharing.note_divergence(tmp_path, METHODS["full"], 1)
    made = experiment(tmp_path, recorded, seeds=(1,))
    assert ("full", 1) in list(taken(made, set(recorded)))  # by another command
    monkeypatch.setenv(MARK, str(time.time() - 10))
    assert [label for label, _ in taken(made, recorded)] == [label for label in NEEDS if label != "full"]
    monkeypatch.setenv(MARK, str(time.time() + 10))  # it was an earlier command
    assert ("full", 1) in list(taken(made, recorded))


@pytest.mark.parametrize("number", [3, 16])
def test_many_processes_take_everything_once(tmp_path, number):
    """Ten seeds by five methods: the processes take turns, and each takes one thing at a time."""
    recorded, seeds, busy = set(), tuple(range(10)), set()

    def process():
        made = experiment(tmp_path, recorded, seeds=seeds, busy=busy)

        def free_runs():
            for seed in seeds:
                if seed not in busy:
                    busy.add(seed)
                    yield SimpleNamespace(seed=seed)

        made.free_runs = free_runs
        for method, run in sharing.share(made, list(METHODS.values())):
            if (method.label, run.seed) not in recorded:
                yield "begins", method.label, run.seed
                recorded.add((method.label, run.seed))
        while True:  # done
            yield None

    class Idle(Exception):
        pass

    def idle(_):
        raise Idle

    turns = idle_turns = 0
    log = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing.time, "sleep", idle)
        processes = [process() for _ in range(number)]
        while len(recorded) < 50 and turns < 1000:
            turns += 1
            for index, each in enumerate(processes):
                try:
                    log += [step for step in [next(each)] if step]
                except Idle:
                    idle_turns += 1
                    processes[index] = process()
    assert len(recorded) == 50 and len(log) == len(set(log)) == 50
    assert turns <= 50 / number + 6 and idle_turns <= 2 * number
