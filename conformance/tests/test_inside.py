"""Inside views and learning: honest computations pass, and each mutant fails the requirement that it breaks."""

import numpy as np
import pytest

from llmasos_conformance.checks.inside import _same_loss
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
