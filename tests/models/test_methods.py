"""Each method's one essential step against a plain computation, and the names of --methods."""

import math

import numpy as np
import pytest
import torch
from support.training import small_net
from torch import nn
from torch.nn import functional as F

from datasets.images import LabelledImages, MixedSet
from models.batches import Batch, Compute, train_batches
from models.candidates import made_from, with_candidates
from models.methods.cvar_dro import WorstFractionLoss, worst_fraction_mean
from models.methods.eiil import infer_environments, invariance_penalty, logit_slopes
from models.methods.fine_tuning import BLOCKS, random_tensors, random_tensors_of_size, random_weights, within
from models.methods.group_dro import GroupLoss, equal_chances, group_means, group_numbers, raised_weights
from models.methods.jtt import error_weights, errors, with_copies
from models.methods.lff import FailureLoss, TwoNetworks, generalised_cross_entropy, relative_difficulty
from models.methods.mixtures import short_of_largest
from models.options import parse_method
from models.run import TrainedModel
from models.schedule import LAST_EPOCH, WORST_GROUP
from models.settings import Settings
from models.training import alike
from results.remarks import protected_labels
from train import METHODS
from utils.errors import UserError
from utils.records import Record

FLAGS = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9", "ratio": None}


def batch_of(targets):
    return Batch(torch.zeros(len(targets), 1), torch.tensor(targets, dtype=torch.float32), np.arange(len(targets)))


def faces(target, protected, side=4, value=0):
    n = len(target)
    pixels = np.full((n, side, side, 3), value, np.uint8)
    return LabelledImages(pixels, np.arange(n), np.array(target), np.array(protected), tuple(map(str, range(n))))


def test_cvar_is_the_mean_of_the_worst_fraction():
    losses = torch.tensor([0.1, 4.0, 2.0, 1.0, 3.0])
    assert worst_fraction_mean(losses, 0.4).item() == pytest.approx((4 + 3) / 2)
    assert worst_fraction_mean(losses, 0.5).item() == pytest.approx((4 + 3 + 0.5 * 2) / 2.5)
    assert worst_fraction_mean(losses, 1.0).item() == pytest.approx(losses.mean().item())
    # the definition: the smallest value of t + mean(max(loss - t, 0)) / alpha (Rockafellar and Uryasev, 2000)
    bound = min(t + np.maximum(losses.numpy() - t, 0).mean() / 0.3 for t in np.linspace(0, 5, 5001))
    assert worst_fraction_mean(losses, 0.3).item() == pytest.approx(bound, abs=1e-4)
    logits = torch.tensor([[2.0], [-1.0], [0.5]])
    expected = F.binary_cross_entropy_with_logits(logits[1, 0], torch.tensor(1.0))
    torch.testing.assert_close(WorstFractionLoss(1 / 3)(logits, batch_of([1, 1, 1])), expected)


def test_group_dro_weighs_the_groups_that_do_badly():
    losses, groups = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 2])
    means = group_means(losses, groups, 3)
    assert means.tolist() == [2, 0, 2]
    weights = raised_weights(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([2.0, 0.0, 1.0]), 0.1)
    plain = np.array([0.5 * math.exp(0.2), 0.3, 0.2 * math.exp(0.1)])
    np.testing.assert_allclose(weights.numpy(), plain / plain.sum(), rtol=1e-6)
    objective = GroupLoss(np.array([0, 1, 1]), 2, step_size=1.0)
    logits = torch.tensor([[5.0], [-5.0], [-5.0]])
    for _ in range(3):
        loss = objective(logits, batch_of([1, 1, 1]))
    assert objective.weights[1] > 0.99 and loss.item() == pytest.approx(5, abs=0.1)


def test_group_dro_draws_groups_with_equal_chance_and_needs_their_labels():
    weights = equal_chances(np.array([0, 0, 0, 1]))
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert group_numbers(np.array([0, 1]), np.array([1, 0]), 2).tolist() == [1, 2]
    with pytest.raises(UserError, match="protected labels"):
        group_numbers(np.array([0, 1]), np.array([1, -1]), 2)


def test_jtt_shows_errors_more_often():
    wrong = errors(np.array([0, 1, 0, 1]), np.array([-1.0, -1, 2, 3]))
    assert wrong.tolist() == [False, True, True, False]
    assert error_weights(wrong, 20).tolist() == [1, 20, 20, 1]
    places = with_copies(wrong, 51)  # the originals and 50 copies
    assert np.bincount(places).tolist() == [1, 51, 51, 1]


class Recorder:
    """In place of a seed's run: notes what its trainings are asked for."""

    def __init__(self, train):
        self.seed, self.calls, self.real = 1, [], {"train": train}
        self.settings = Settings(real_data_path=None, image_size=4, batch_size=4, device="cpu")

    def new_network(self, seed=None):
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 1))

    biased_model = new_network

    def pre_train(self, data, **options):
        self.calls.append((data, options))
        return TrainedModel(self.new_network(), [])


def asked_for(name, protected=(0, 1, 1, 0)):
    run, method = Recorder(faces([0, 1, 0, 1], protected)), parse_method(name, METHODS, FLAGS)
    method.train(run, **method.keywords)
    return run.calls


def test_jtt_as_published():
    (_, first), (data, second) = asked_for("jtt:protocol=published")
    assert (first["epochs"], first["lr"], first["weight_decay"]) == (1, 1e-5, 0.1)
    assert first["select_by"] == LAST_EPOCH and second["select_by"] == WORST_GROUP and "sampling" not in second
    assert len(data) > 4 and (len(data) - 4) % 50 == 0  # copies of what the first, untrained one got wrong
    (_, first), (data, second) = asked_for("jtt")
    assert first["epochs"] == 1 and not first.keys() & {"lr", "weight_decay", "select_by"}
    assert len(data) == 4 and set(second["sampling"]) <= {1, 51} and "select_by" not in second
    with pytest.raises(UserError, match="at least 1"):
        asked_for("jtt:protocol=published,weight=0.4")
    (_, first), _ = asked_for("jtt:protocol=published,first-lr=0.5,epochs=3")
    assert (first["epochs"], first["lr"], first["weight_decay"]) == (3, 0.5, 0.1)


def test_eiil_group_dro_and_lff_as_published():
    (_, reference), (_, robust) = asked_for("eiil:protocol=published,steps=1")
    assert reference["epochs"] == 1 and "select_by" not in robust
    assert len(asked_for("eiil:steps=1")) == 1  # the biased model is there already
    assert [call["select_by"] for _, call in asked_for("group-dro:protocol=published")] == [WORST_GROUP]
    assert ["select_by" in call for _, call in asked_for("group-dro")] == [False]
    assert [call["objective"].factor for _, call in asked_for("lff:protocol=published")] == [0.7]
    assert [call["objective"].factor for _, call in asked_for("lff")] == [1]


def takes_of(name, select_by="accuracy"):
    return set(parse_method(name, METHODS, FLAGS).protected_labels(select_by))


@pytest.mark.parametrize(
    "name", [*METHODS, *(f"{name}:protocol=published" for name in ("jtt", "eiil", "lff", "group-dro"))]
)
def test_a_method_says_which_protected_labels_it_takes(name):
    """Of train: without them it refuses to work. Of val: one of its trainings chooses its epoch by the worst group."""
    method, train = parse_method(name, METHODS, FLAGS), faces([0, 1, 0, 1], [-1, -1, -1, -1])
    text = f"{name}{',' if ':' in name else ':'}steps=1" if name.startswith("eiil") else name
    try:
        method.balanced_sizes(train, 4) if method.needs_synthetic else asked_for(text, [-1] * 4)
        without = True
    except UserError as error:
        without = "protected labels" not in str(error)
    assert ("train" in takes_of(name)) == (not without)
    if not method.needs_synthetic:
        by_groups = any(call.get("select_by") == WORST_GROUP for _, call in asked_for(text))
        assert ("val" in takes_of(name)) == by_groups
    assert "val" in takes_of(name, "worst-group")


def record_of(method, **more):
    return Record.of({"method": method, "seed": 1, "metrics": {}, **more})


def test_records_that_do_not_say_it_yet_are_told_as_their_methods_tell():
    for name in (
        *METHODS,
        "jtt:weight=20,protocol=published",
        "group-dro:protocol=published",
        "group-dro:step-size=0.1",
    ):
        for select_by in ("accuracy", "worst-group"):
            method = parse_method(name, METHODS, FLAGS)
            own = {"select_by": "worst-group"} if select_by == "worst-group" else {}
            settings = {"biased_model": own} if method.fine_tunes else own
            assert protected_labels(record_of(method.label, settings=settings)) == method.protected_labels(select_by), (
                name
            )
    assert protected_labels(record_of("mine", protected_labels={"val": "looks at val"})) == {"val": "looks at val"}


def test_sampling_follows_its_weights():
    data = faces([0, 1] * 200, [0] * 400)
    compute = Compute(torch.device("cpu"), amp=False, image_size=4, batch_size=50)
    weights = np.where(data.target == 1, 9.0, 1.0)
    batches = list(train_batches(data, compute, torch.Generator().manual_seed(0), sampling=weights))
    assert sum(len(batch.targets) for batch in batches) == 400
    assert np.mean([batch.targets.mean().item() for batch in batches]) == pytest.approx(0.9, abs=0.05)


def test_lff_weighs_what_the_biased_network_fails_on():
    losses = torch.tensor([0.2, 2.0])
    p = torch.exp(-losses)
    torch.testing.assert_close(generalised_cross_entropy(losses, 0.7), (1 - p**0.7) / 0.7)
    torch.testing.assert_close(
        relative_difficulty(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0])), torch.tensor([0.75, 0.0])
    )
    # two steps by hand: averages with 0.7 on the past, divided by the largest of the class
    objective = FailureLoss(np.array([1, 1]), q=0.7, momentum=0.7)
    batch = batch_of([1, 1])
    first, second = torch.tensor([[0.0, 2.0], [0.0, -2.0]]), torch.tensor([[1.0, 3.0], [0.0, -1.0]])
    objective(first, batch)
    value = objective(second, batch)
    one, two = (F.softplus(-logits) for logits in (first, second))  # cross-entropy of target 1
    average = 0.7 * one + 0.3 * two
    scaled = average / average.max(dim=0).values
    weights = scaled[:, 1] / (scaled[:, 1] + scaled[:, 0])
    expected = (weights * two[:, 0]).mean() + ((1 - torch.exp(-two[:, 1]) ** 0.7) / 0.7).mean()
    torch.testing.assert_close(value, expected)
    published = FailureLoss(np.array([1, 1]), q=0.7, momentum=0.7, factor=0.7)
    published(first, batch)
    expected = (weights * two[:, 0]).mean() + 0.7 * ((1 - torch.exp(-two[:, 1]) ** 0.7) / 0.7).mean()
    torch.testing.assert_close(published(second, batch), expected)


def test_lff_keeps_its_two_networks_apart():
    networks = TwoNetworks(nn.Linear(2, 1), nn.Linear(2, 1))
    inputs = torch.ones(3, 2)
    assert networks(inputs).shape == (3, 2)
    networks(inputs)[:, 0].sum().backward()
    assert networks.debiased.weight.grad.any() and not networks.biased.weight.grad.any()
    assert torch.equal(networks.eval()(inputs), networks.debiased(inputs))


def test_eiil_slopes_are_the_derivative_and_environments_raise_the_penalty():
    target, logits = np.array([1, 0, 1, 0]), np.array([2.0, -1.0, -0.5, 3.0], np.float32)
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    losses = F.binary_cross_entropy_with_logits(
        w * torch.from_numpy(logits).double(), torch.from_numpy(target).double(), reduction="none"
    )
    plain = [torch.autograd.grad(loss, w, retain_graph=True)[0].item() for loss in losses]
    slopes = logit_slopes(target, logits)
    assert slopes.tolist() == pytest.approx(plain)
    options = {"steps": 500, "lr": 0.05, "generator": torch.Generator().manual_seed(0)}
    places = infer_environments(target, logits, **options)
    # the largest penalty parts the slopes by their sign: right answers from wrong ones
    assert len({(place, slope > 0) for place, slope in zip(places.tolist(), plain)}) == 2
    half = torch.full((4,), 0.5, dtype=torch.float64)
    assert invariance_penalty(slopes, torch.from_numpy(places).double()) > invariance_penalty(slopes, half)
    fractions = torch.tensor([0.1, 0.9, 0.4, 0.7]).double()
    both = [(fraction * slopes).mean() ** 2 for fraction in (fractions, 1 - fractions)]
    assert invariance_penalty(slopes, fractions) == torch.stack(both).mean()


def test_blocks_part_the_network_and_masks_follow_their_draw():
    from models.classifier import new_classifier

    names = [name for name, _ in new_classifier("none", 0).named_parameters()]
    assert sorted(name for begin in BLOCKS.values() for name in within(names, begin)) == sorted(names)
    assert within(names, BLOCKS["fc"]) == ["fc.weight", "fc.bias"] and len(within(names, BLOCKS["stem"])) == 3
    mask = random_tensors(names, 0.4, 100, 1)
    assert len(mask) == round(0.4 * 62) and mask == random_tensors(names, 0.4, 100, 1)
    assert mask != random_tensors(names, 0.4, 100, 2) and mask != random_tensors(names, 0.4, 200, 1)
    assert [name for name in names if name in mask] == mask


def test_single_weights_are_drawn_by_the_seed_and_the_draw():
    net = small_net()
    masks = [random_weights(net, 0.25, seed, draw) for seed, draw in ((1, 1), (1, 1), (2, 1), (1, 2))]
    assert alike(masks[0], masks[1]) and not alike(masks[0], masks[2]) and not alike(masks[0], masks[3])
    size = sum(parameter.numel() for parameter in net.parameters())
    assert all(sum(mask.sum() for mask in each.values()) == round(0.25 * size) for each in masks)


def test_a_random_mask_of_weights_fills_its_share():
    from models.classifier import new_classifier

    sizes = {name: tensor.numel() for name, tensor in new_classifier("none", 0).named_parameters()}
    masks = [random_tensors_of_size(sizes, 0.32, 100, draw) for draw in range(1, 30)]
    shares = [sum(sizes[name] for name in mask) / sum(sizes.values()) for mask in masks]
    assert all(0.25 < share <= 0.32 for share in shares) and len({tuple(mask) for mask in masks}) > 20
    assert masks[0] == [name for name in sizes if name in masks[0]] == random_tensors_of_size(sizes, 0.32, 100, 1)
    assert masks[0] != random_tensors_of_size(sizes, 0.32, 200, 1)
    taken = [sum(name in mask for mask in masks) for name in sizes]  # each tensor that fits, now and then
    assert min(count for name, count in zip(sizes, taken, strict=True) if sizes[name] < 0.3 * sum(sizes.values())) > 0
    with pytest.raises(UserError, match="share=0.4 of the weights"):
        random_tensors_of_size({"a": 5, "b": 5}, 0.4, 100, 1)


def test_repair_fills_every_group_up_to_the_largest():
    data = faces([0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1])
    assert short_of_largest(data) == {"0_0": 1, "0_1": 0, "1_0": 0, "1_1": 1}
    with pytest.raises(UserError, match="protected labels"):
        short_of_largest(faces([0, 1], [0, -1]))


def test_mixed_sets_of_different_sizes_give_each_image_its_own_target():
    dark, bright = faces([0] * 5, [0] * 5, side=6), faces([1] * 7, [0] * 7, side=10, value=255)
    data = MixedSet((dark, bright))
    compute = Compute(torch.device("cpu"), amp=False, image_size=4, batch_size=4)
    batches = list(train_batches(data, compute, torch.Generator().manual_seed(0)))
    assert sorted(np.concatenate([batch.indices for batch in batches])) == list(range(12))
    for batch in batches:
        brightness = batch.inputs.mean(dim=(1, 2, 3))
        torch.testing.assert_close(brightness, 2 * batch.targets - 1)  # black is -1, white 1


def test_names_and_options_of_methods():
    assert (
        parse_method("aim-fair", METHODS, FLAGS).label
        == parse_method("aim-fair:top-k=55", METHODS, FLAGS).label
        == "aim-fair"
    )
    assert "unit" not in parse_method("criterion:by=snr", METHODS, FLAGS).recorded()  # older records lack it
    assert parse_method("criterion:unit=neuron", METHODS, FLAGS).recorded()["unit"] == "neuron"
    method = parse_method("aim-fair:bias-degree=2/8,top-k=40", METHODS, FLAGS)
    assert method.label == "aim-fair:top-k=40,bias-degree=2/8" and method.folder == "aim-fair_top-k=40,bias-degree=2-8"
    assert method.recorded() == {"top_k": 40, "bias_degree": "2/8", "prompt_type": "contextual", "ratio": None}
    assert parse_method("jtt", METHODS, FLAGS).options["weight"] == 51
    assert parse_method("full:repeat=1", METHODS, FLAGS).label == "full"
    again = parse_method("full:repeat=2", METHODS, FLAGS)
    assert again.recorded()["repeat"] == 2 and "repeat" not in parse_method("full", METHODS, FLAGS).recorded()
    assert parse_method("blocks:update=fc+stem", METHODS, FLAGS).label == "blocks:update=stem+fc"
    assert {"erm", "update-block-stem", "freeze-block-4", "group-dro"} <= METHODS.keys()
    auto = with_candidates(
        [parse_method(name, METHODS, FLAGS) for name in ("aim-fair:top-k=auto,ratio=2", "erm")], METHODS, FLAGS
    )
    labels = [f"aim-fair:top-k={k},ratio=2.0" for k in (40, 45, 50)]
    labels += ["aim-fair:ratio=2.0", "aim-fair:top-k=60,ratio=2.0", "aim-fair:top-k=auto,ratio=2.0", "erm"]
    assert [method.label for method in auto] == labels
    flagged = parse_method("aim-fair", METHODS, FLAGS | {"top-k": "auto"})
    assert [m.label for m in made_from(flagged, METHODS, FLAGS | {"top-k": "auto"})][0] == "aim-fair:top-k=40"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("aim-fare", "did you mean aim-fair"),
        ("erm:top-k=3", "has no option 'top-k'"),
        ("aim-fair:top-k=many", "top-k=many"),
        ("aim-fair:bias-degree=9", "--bias-degree"),
        ("criterion:by=agreement,unit=neuron", "too many weights agree alike"),
        ("jtt:protocol=published,weight=0.5", "weight=0.5: copies are added"),
        ("random-mask:share=0", "share=0"),
        ("random-mask:share", "share="),
        ("jtt:epochs=0", "epochs=0"),
        ("blocks:update=stem+5", "no block '5'; there are stem, 1, 2, 3, 4, fc"),
        ("jtt:protocol=mine", "none of aligned, published"),
        ("aim-fair:ratio=nan", "ratio=nan"),
    ],
)
def test_wrong_methods_are_named(text, part):
    with pytest.raises(UserError, match=part):
        parse_method(text, METHODS, FLAGS)
