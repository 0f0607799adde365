"""The vendor's own tests; `pytest` alone runs these and nothing else."""


def test_arithmetic_still_works():
    assert 6 * 7 == 42
