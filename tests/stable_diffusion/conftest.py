"""Generators that the tests of this room share."""

import shutil

import pytest
from support.generation import TINY
from support.tiny_pipelines import save


@pytest.fixture
def own_tiny(tmp_path):
    """A copy of the tiny generator that a test may spoil."""
    return shutil.copytree(TINY, tmp_path / "model")


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a family's pipeline, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("families"), {"SD 1, 2": TINY}

    def folder(family):
        if family not in made:
            made[family] = save(family, root / family.replace(" ", ""))
        return made[family]

    return folder
