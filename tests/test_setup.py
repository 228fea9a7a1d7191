"""The set-up of the runners in environments as people have them: without pip, complete already, with uv, or broken."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
from support import ROOT

PATH = f"/usr/bin{os.pathsep}/bin"


@pytest.fixture
def project(tmp_path):
    """The two files of the project that set-up reads."""
    (tmp_path / "utils").mkdir()
    shutil.copy(ROOT / "utils" / "setup.sh", tmp_path / "utils")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path


def environment(folder, *, complete):
    """A virtual environment without pip, as `uv venv` makes it; complete: it sees the packages of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "pip.py").write_text("raise ModuleNotFoundError('No module named pip')")
    if complete:
        (packages / "all.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def set_up(project, active=None, *, path=PATH, **more):
    variables = {"PATH": path, "HOME": str(project), **more}
    if active:
        variables["VIRTUAL_ENV"] = str(active)
    command = ["bash", "-c", 'source utils/setup.sh && echo "PYTHON=$PYTHON"']
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, timeout=120)


def test_an_environment_that_has_everything_is_used_without_pip(project):
    active = environment(project / "uv", complete=True)
    done = set_up(project, active)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"PYTHON={active}/bin/python\n" and not done.stderr
    assert not (project / ".venv").exists()
    own = environment(project / ".venv", complete=True)  # where `uv venv` puts it, and not active
    assert set_up(project).stdout == f"PYTHON={own}/bin/python\n"


def test_uv_installs_where_there_is_no_pip(project):
    active, tools = environment(project / "uv", complete=False), project / "tools"
    tools.mkdir()
    (tools / "uv").write_text(f'#!/bin/sh\necho "$@" > {project}/asked\n')
    (tools / "uv").chmod(0o755)
    done = set_up(project, active, path=f"{tools}{os.pathsep}{PATH}")
    assert done.returncode == 0, done.stderr
    asked = (project / "asked").read_text()
    assert f"--python {active}/bin/python" in asked and f"-r {project}/requirements.txt" in asked


def test_nothing_to_install_with_is_one_line(project):
    active = environment(project / "bare", complete=False)
    (project / "ensurepip.py").write_text("raise ModuleNotFoundError('left out by the distribution')")
    failed = set_up(project, active)
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1, failed.stderr
    assert "neither pip nor uv" in failed.stderr and str(active) in failed.stderr


def test_an_environment_that_is_gone_is_one_line(project):
    failed = set_up(project, project / "gone")
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1
    assert f"{project}/gone has no bin/python" in failed.stderr


def test_a_python_that_has_everything_is_used_as_it_is(project):
    tools = project / "tools"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python3").chmod(0o755)
    done = set_up(project, path=f"{tools}{os.pathsep}{PATH}")
    assert done.stdout == f"PYTHON={tools}/python3\n", done.stderr
    assert not (project / ".venv").exists()


def test_a_runner_that_a_test_starts_in_a_clone_takes_this_environment(project):
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests run in no environment")
    code = 'source utils/setup.sh && echo "PYTHON=$PYTHON"'
    done = subprocess.run(["bash", "-c", code], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"PYTHON={sys.prefix}/bin/python\n", done.stderr
    assert not (project / ".venv").exists()


def test_no_test_can_install_anything(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path / "there", "packaging"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "No module named pip" in done.stderr:
        pytest.skip("there is no pip to install anything with")
    assert done.returncode and not (tmp_path / "there").exists() and "No matching distribution" in done.stderr
