"""The shell scripts around a stand-in for Python: signals, streams, help, odd surroundings."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT

from stable_diffusion.settings import GenerationSettings

# notes its arguments, then trains for a minute unless it is told to stop; what it has then is saved
STUB = f"""#!{sys.executable}
import os, signal, sys, time
here = os.path.dirname(os.path.abspath(__file__))
print(*sys.argv[1:], file=open(f"{{here}}/calls", "a"), flush=True)
if sys.argv[1].endswith("train.py") and "--dry-run" not in sys.argv:
    def save(number, frame):
        time.sleep(0.3)
        open(f"{{here}}/saved", "w").close()
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, save)
    open(f"{{here}}/begun", "w").close()
    time.sleep(float(os.environ.get("TRAINS", 60)))
    print("trained")
"""


@pytest.fixture
def project(tmp_path):
    """A project of the runners alone, in an awkward folder, with a stand-in for Python that is set up already."""
    folder = tmp_path / "it's a clone"
    for name in ("runner.sh", "results/table.sh", "stable_diffusion/generation.sh", "tests/run.sh", "utils/setup.sh"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    lists = [ROOT / "requirements.txt", ROOT / "requirements-test.txt"]
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / ".aim-fair-requirements").write_text("".join(path.read_text() for path in lists))
    for path in lists:
        shutil.copy(path, folder)
    (folder / ".venv" / "bin" / "python").write_text(STUB)
    (folder / ".venv" / "bin" / "python").chmod(0o755)
    return folder


def start(folder, *command, **more):
    """A command in the project, as a terminal starts it: in a group of its own."""
    variables = {"PATH": "/usr/bin:/bin", **more}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        process_group=0,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 30
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate()


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("whole_group", [False, True], ids=["the runner alone", "its group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_runner_told_to_stop_waits_until_training_has_saved(project, number, whole_group):
    process, tools = start(project, "bash", "runner.sh"), project / ".venv" / "bin"
    wait_for(tools / "begun", process)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, (out, errors)
    assert (whole_group and number == signal.SIGHUP) or (tools / "saved").exists()  # the stand-in knows no SIGHUP
    assert "trained" not in out and "results.report" not in (tools / "calls").read_text()
    assert not alive(process.pid)


def test_nohup_goes_on_when_the_terminal_is_closed(project):
    process, tools = start(project, "nohup", "bash", "runner.sh", TRAINS="1"), project / ".venv" / "bin"
    wait_for(tools / "begun", process)
    os.killpg(process.pid, signal.SIGHUP)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "trained" in out, errors


def test_a_stage_that_fails_ends_the_runner_with_its_status(project):
    stub = project / ".venv" / "bin" / "python"
    stub.write_text(STUB.replace('print("trained")', "sys.exit(7)"))
    assert start(project, "bash", "runner.sh", TRAINS="0").wait(timeout=30) == 7
    assert "results.report" not in (stub.parent / "calls").read_text()


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", "| head -n 1", "2>&1 | true", ">/dev/null"])
def test_a_runner_goes_on_whoever_reads(project, streams):
    process = start(project, "bash", "-c", f"bash runner.sh {streams}", TRAINS="0.2")
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not errors, errors
    assert "results.report" in (project / ".venv" / "bin" / "calls").read_text()


@pytest.mark.parametrize("name", ["runner.sh", "results/table.sh", "stable_diffusion/generation.sh", "tests/run.sh"])
def test_help_and_sh_need_no_environment(project, name):
    shutil.rmtree(project / ".venv")
    for shell in ("bash", "sh"):
        process = start(project, shell, name, "3", "--help")
        out, errors = process.communicate(timeout=30)
        assert process.returncode == 0 and not errors and f"bash {name}" in out, errors
    assert not (project / ".venv").exists()


SURROUNDINGS = {
    "temporary folder gone": {"TMPDIR": "/nowhere"},
    "CDPATH": {"CDPATH": "/tmp:/"},
    "plain text": {"LC_ALL": "C", "LANG": "C"},
    "threads": {"OMP_NUM_THREADS": "2"},
    "PYTHONPATH": {"PYTHONPATH": "/elsewhere"},
}


@pytest.mark.parametrize("variables", SURROUNDINGS.values(), ids=SURROUNDINGS)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_runner_works_in_odd_surroundings(project, shell, variables):
    """From another folder too, which CDPATH would have mistaken for one of its own."""
    if "CDPATH" in variables:
        variables = {"CDPATH": str(project.parent / "other")}
        (project.parent / "other" / project.name / "utils").mkdir(parents=True)
    process = start(project.parent, shell, f"{project.name}/runner.sh", "--dry-run", **variables)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not errors, errors
    calls = (project / ".venv" / "bin" / "calls").read_text()
    assert f"{project}/train.py" in calls and "--few" in calls
    assert not (project / "results" / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "chooses"),
    [
        ("--settings auto", True), ("--methods aim-fair auto", True), ("--methods full:settings=auto,threshold=val", True),
        ("--top-k auto", True), ("--ranking-batches auto", False), ("--methods aim-fair full", False),
    ],
)  # fmt: skip
def test_toy_faces_are_held_out_if_something_is_chosen_by_them(project, flags, chooses):
    """In an output of its own, since its records are made with fewer images."""
    process = start(project, "bash", "runner.sh", *flags.split(), TRAINS="0")
    _, errors = process.communicate(timeout=30)
    calls = (project / ".venv" / "bin" / "calls").read_text()
    assert process.returncode == 0, errors
    held_out = "--number-balanced-synthetic 150 --number-held-out-synthetic 50"
    assert (held_out in calls) == chooses and ("Smiling_Male_auto" in calls) == chooses


OF_GENERATION = GenerationSettings.__dataclass_fields__["images_per_cell"].default


@pytest.mark.parametrize(
    ("flags", "prompt_type", "images"),
    [
        ("", "contextual", 200),
        ("--images-per-cell 30", "contextual", 30),
        ("--prompt-type plain", "plain", 200),
        ("--generation-prompt-type plain", "plain", 200),
        ("--dataset celeba --real-data-path .", "contextual", OF_GENERATION),
    ],
)
def test_training_is_checked_against_the_images_that_generation_will_make(project, flags, prompt_type, images):
    """Before hours of generation, not after."""
    process = start(project, "bash", "runner.sh", *flags.split(), TRAINS="0")
    _, errors = process.communicate(timeout=30)
    checks = [
        call for call in (project / ".venv" / "bin" / "calls").read_text().splitlines() if "--images-to-come" in call
    ]
    assert process.returncode == 0, errors
    assert len(checks) == 1 and "--dry-run" in checks[0] and f"--images-to-come {prompt_type}={images}" in checks[0]


@pytest.mark.parametrize("name", ["faces.csv", "FACES.CSV"])
def test_a_list_of_images_takes_the_place_of_generation(project, name):
    process = start(project, "bash", "runner.sh", "--synthetic-data-root", name, TRAINS="0")
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and f"none: {name} takes its place" in out, errors
    assert "stable_diffusion.generate" not in (project / ".venv" / "bin" / "calls").read_text()


def test_windows_is_refused_in_a_line(project):
    tools = project / "tools"
    tools.mkdir()
    (tools / "uname").write_text("#!/bin/sh\necho MINGW64_NT-10.0-19045\n")
    (tools / "uname").chmod(0o755)
    process = start(project, "bash", "runner.sh", PATH=f"{tools}:/usr/bin:/bin")
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 2 and not out and len(errors.splitlines()) == 1 and "WSL" in errors
