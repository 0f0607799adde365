"""Inside views and learning: honest computations pass, and each mutant fails the requirement that it breaks."""

import numpy as np
import pytest

from llmasos_conformance.checks.inside import _same_gradients, _same_loss
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.mutants.honest import HONEST
from llmasos_conformance.mutants.table import Workshop

BROKEN = [name for name, made in mutants().items() if made.group == "inside"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("probes"), ["inside.*"])


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_variant_fails_nothing_and_stays_within_half_of_every_bound(workshop, name):
    assert workshop.row("honest", name).trouble == ""


@pytest.mark.parametrize("name", BROKEN)
def test_a_mutant_fails_its_requirement_and_not_most_others(workshop, name):
    made = workshop.row("mutant", name)
    assert made.trouble == ""
    assert len(made.requirements) <= 6


@pytest.mark.parametrize("order", ["plain", "split-k", "sequential", "reversed", "online"])
def test_every_order_of_the_reference_passes(workshop, order):
    made = workshop.row("reference", f"float32/{order}")
    assert (made.failed, made.undecided) == ({}, {})


def test_a_loss_far_from_any_honest_one_fails_with_both_values():
    finding = _same_loss(2.5, 2.25, [2.2500001], "float32")
    assert not finding.ok
    assert "loss is 2.5, 2.25 was due" in finding.message
    assert _same_loss(2.2500001, 2.25, [2.2500001], "float32").ok


def test_a_trained_model_has_a_name_of_ours_and_goes_with_the_example(workshop):
    candidate = workshop.candidate("reference:float32")
    model = candidate.model("ids-only")
    _, first = model.train_step([[1, 2, 3]], 0.5)
    _, second = model.train_step([[1, 2, 3]], 0.5)
    exchanges = candidate.link.log
    assert [each.result["model"] for each in exchanges if each.method == "train_step"] == ["t1", "t2"]
    np.testing.assert_array_equal(first.forward([[1, 2]])[0], second.forward([[1, 2]])[0])
    candidate.link.begin()
    with pytest.raises(KeyError):
        first.forward([[1, 2]])


def judged(bias_error, weight_error=1e-8):
    """A layer's gradients, in which that by the keys' bias is exactly nothing, off by so much."""
    draw = np.random.default_rng(0)
    truth = {"key.bias": draw.normal(size=32) * 1e-17, "key.weight": draw.normal(size=(32, 32))}
    errors = draw.normal(size=32), draw.normal(size=(32, 32))

    def off(bias, weight):
        return {
            "key.bias": (truth["key.bias"] + bias * errors[0]).astype("f4"),
            "key.weight": (truth["key.weight"] + weight * errors[1]).astype("f4"),
        }

    honest = [off(size * 1e-9, 5e-8) for size in (1.0, 0.3)]
    return _same_gradients(off(bias_error, weight_error), truth, honest, "float32")


def test_a_gradient_that_cancels_to_nothing_may_err_as_the_others_do():
    assert judged(4e-8).ok  # forty times as much as the honest orders have left of it


def test_a_gradient_that_should_cancel_and_does_not_fails():
    finding = judged(1e-5)
    assert not finding.ok
    assert "key.bias" in finding.message


def test_what_cancels_widens_no_bound_of_the_others():
    finding = judged(0.0, 1e-6)
    assert not finding.ok
    assert "key.weight" in finding.message


def scaled(error, *honest_errors, name="norm.bias"):
    """Gradients of which one errs as a whole, by a factor, as honest ones do: by what one norm erred in."""
    draw = np.random.default_rng(0)
    truth = {"norm.bias": 1e-3 * draw.normal(size=32), "up.weight": draw.normal(size=(32, 32))}
    honest = [
        {"norm.bias": truth["norm.bias"] * (1 + e), "up.weight": truth["up.weight"] * (1 + 1e-6)} for e in honest_errors
    ]
    got = {**truth, name: truth[name] * (1 + error)}
    return _same_gradients(got, truth, honest, "float32")


def test_a_tensor_that_honest_orders_have_right_by_luck_may_err_for_its_size_as_the_others_do():
    assert scaled(3e-6, 1e-8, 2e-8).ok


def test_what_a_tensor_may_err_by_is_in_units_of_its_own_size():
    finding = scaled(2e-5, 1e-8, 2e-8)
    assert not finding.ok
    assert "norm.bias" in finding.message
    assert "20x the honest float32 error over the row, bound 6x" in finding.message
