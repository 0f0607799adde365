"""In which order one reads the chapters of the standard."""

from __future__ import annotations

from collections.abc import Iterable

ORDER = (
    "format", "loading", "tokenizers", "text", "api", "generation", "gumbel", "numerics", "attention", "llama", "bert",
    "transformer", "state", "contracts", "inside", "interchange", "metrics", "hosted",
)  # fmt: skip
"""Chapters in the order in which one reads; others follow by name."""


def in_order(chapters: Iterable[str]) -> list[str]:
    """Names of chapters as one reads them."""
    rank = {name: number for number, name in enumerate(ORDER)}
    return sorted(chapters, key=lambda name: (rank.get(name, len(ORDER)), name))
