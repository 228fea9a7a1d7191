"""The study of networks: its row of one that works, killed on the way, and of one that fails."""

import pytest

from results.studies import Place
from results.studies.networks import DIFFER, measure, table
from utils.errors import UserError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")  # one, because the faces in it are drawn once
    return Place(folder, folder, small=True)


@pytest.mark.slow
def test_a_network_is_run_killed_and_compared(place):
    found = {each.what: each.value for each in measure("mobilenet_v3_small", place)}
    assert (found["pixels"], found["tensors"], found["k"], found[DIFFER]) == (32, 142, 126, [])
    assert 0 < found["chosen by both rankings"] <= 126 and not (place.work / "mobilenet_v3_small").exists()


@pytest.mark.slow
def test_a_network_that_train_refuses_is_named(place):
    with pytest.raises(UserError, match="--network mobilnet_v3_small: there is none; did you mean mobilenet_v3"):
        list(measure("mobilnet_v3_small", place))


def test_a_network_that_resumes_otherwise_is_no_yes(tmp_path):
    rows = f'{{"what": "k", "value": 55}}, {{"what": "{DIFFER}", "value": ["erm/seed_1/model.safetensors"]}}'
    (tmp_path / "resnet18.json").write_text(f'{{"status": "failed", "seconds": 1, "rows": [{rows}]}}')
    [row] = table(tmp_path)[2:]
    assert row == "| resnet18 | – | – | 55 | – | – | no: erm/seed_1/model.safetensors |"
