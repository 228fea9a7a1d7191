"""The study of networks: its row of one that works, killed on the way, and of one that fails."""

import pytest

from results.studies import Place
from results.studies.networks import DIFFER, measure, table
from utils.errors import UserError


@pytest.mark.slow
def test_a_network_is_run_killed_and_compared(tmp_path):
    found = {each.what: each.value for each in measure("mobilenet_v3_small", Place(tmp_path, tmp_path, small=True))}
    assert (found["pixels"], found["tensors"], found["k"], found[DIFFER]) == (32, 142, 126, [])
    assert 0 < found["chosen by both rankings"] <= 126 and not (tmp_path / "mobilenet_v3_small").exists()


def test_a_network_that_train_refuses_is_named(tmp_path):
    with pytest.raises(UserError, match="--network mobilnet_v3_small: there is none; did you mean mobilenet_v3"):
        list(measure("mobilnet_v3_small", Place(tmp_path, tmp_path, small=True)))


def test_a_network_that_resumes_otherwise_is_no_yes(tmp_path):
    rows = f'{{"what": "k", "value": 55}}, {{"what": "{DIFFER}", "value": ["erm/seed_1/model.safetensors"]}}'
    (tmp_path / "resnet18.json").write_text(f'{{"status": "failed", "seconds": 1, "rows": [{rows}]}}')
    [row] = table(tmp_path)[2:]
    assert row == "| resnet18 | – | – | 55 | – | – | no: erm/seed_1/model.safetensors |"
