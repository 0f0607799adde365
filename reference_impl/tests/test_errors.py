"""The tree of refusals."""

from __future__ import annotations

import pickle

from llmasos import errors

CODES = {
    "invalid_argument",
    "unknown_parameter",
    "context_overflow",
    "not_found",
    "invalid_format",
    "unsupported_version",
    "unsupported_architecture",
    "unsupported",
}


def test_every_code_has_one_class() -> None:
    classes = errors.LLMasOSError.__subclasses__()
    assert sorted(kind.code for kind in classes) == sorted(CODES)


def test_a_message_says_where_what_and_what_to_try() -> None:
    error = errors.InvalidFormat("7 heads do not divide 512", "model.json parameters.num_heads", "a divisor of 512")
    assert str(error) == "model.json parameters.num_heads: 7 heads do not divide 512 (a divisor of 512)"
    assert str(errors.NotFound("nothing there")) == "nothing there"


def test_an_error_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(errors.ContextOverflow("9 tokens", "prompt", "shorten it")))
    assert (type(error), error.what, error.where, error.hint) == (
        errors.ContextOverflow,
        "9 tokens",
        "prompt",
        "shorten it",
    )


def test_any_value_can_be_shown() -> None:
    assert errors.shown("x" * 100) == "'" + "x" * 59
    assert errors.shown(10**5000) == "a value of type int"
