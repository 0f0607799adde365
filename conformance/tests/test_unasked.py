"""Capabilities that are declared and that a profile does not ask."""

import pytest

from llmasos_conformance import installed, unasked

CORE = {"GPT-3", "load_model", "forward", "generate_ids"}
WHOLE = {"batch", "forward", "score", "seed", "session", "stop", "stream", "tokenize"}
SUITES = installed.suites()


def told(*further, profile="core/gpt/logits"):
    return unasked.sentence(unasked.find(CORE | {*further}, profile, SUITES))


def test_who_declares_no_more_than_a_profile_asks_is_told_nothing():
    assert told() == told("tokenize") == ""


def test_a_profile_that_the_candidate_can_take_is_named_unless_another_asks_far_more():
    assert told("bleu", "perplexity", "rouge").endswith("bleu, perplexity, rouge (metrics/gpt asks them)")
    due = "session (inference/gpt/logits asks it, and requires batch, score, seed, stop, stream, tokenize)"
    assert told("session") == f"declared, not asked by this profile: {due}"  # quick has one case of sessions


def test_a_profile_of_an_architecture_that_is_not_declared_is_not_named():
    llama = {"Llama", "load_model", "forward", "generate_ids", "session"}
    (found,) = unasked.find(llama, "core/llama/logits", SUITES)
    assert found.profile.endswith(("/llama", "/llama/logits"))
    assert "GPT-3" not in found.requires


def test_one_profile_is_named_for_all_that_it_asks():
    due = ", ".join(sorted(WHOLE - CORE - {"tokenize"}))
    assert told(*WHOLE) == f"declared, not asked by this profile: {due} (inference/gpt/logits asks them)"


def test_where_no_profile_can_be_taken_what_is_lacking_is_named():
    due = "train_step (inside/gpt asks it, and requires attention, gradients, hidden_states)"
    assert told("train_step").endswith(due)


def test_an_architecture_that_is_not_asked_is_told():
    assert told("Llama").endswith("Llama (core/llama/logits asks it)")


def test_what_profiles_of_other_architectures_alone_ask_is_said_to_be_so():
    assert told("encode", "fill_mask").endswith(
        "encode, fill_mask (no profile of the declared architectures asks them)"
    )


def test_what_the_cases_of_a_profile_need_beside_something_undeclared_was_not_asked():
    found = unasked.find(CORE | {"session"}, "interchange/gpt", SUITES)  # its cases of sessions need `onnx` too
    assert "session" in {name for each in found for name in each.names}


def test_what_no_profile_asks_is_said_to_be_so():
    assert told("dreams").endswith("dreams (no profile asks it)")
    assert told("dreams", "songs").endswith("dreams, songs (no profile asks them)")


@pytest.mark.parametrize("profile", ["all", "acme/own"])
def test_of_a_profile_that_is_not_frozen_nothing_is_said(profile):
    assert told("session", profile=profile) == ""


def test_whatever_is_declared_and_not_asked_is_named_once():
    asked = {
        name: {need for case in installed.frozen_profile(SUITES, name)["cases"] for need in case["needs"]}
        for name in installed.profile_names(SUITES)
    }
    offers = set().union(*asked.values())
    for profile, needs in asked.items():
        found = unasked.find(offers, profile, SUITES)
        assert sorted(name for each in found for name in each.names) == sorted(offers - needs)
        assert not any(each.requires for each in found)
