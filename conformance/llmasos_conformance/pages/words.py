"""Words that every page uses, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES: Mapping[str, tuple[str, str]] = {"en": ("en", "English"), "zh": ("zh-Hans", "中文")}
"""Language -> its tag in HTML, and its own name."""

LEVELS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {
        "MUST": ("MUST", "an implementation that fails it does not conform"),
        "SHOULD": ("SHOULD", "there may be good reasons to do otherwise; a failure is shown and does not decide"),
        "MAY": ("MAY", "an implementation is free to do it or not"),
    },
    "zh": {
        "MUST": ("必须", "不满足的实现即不符合标准"),
        "SHOULD": ("应当", "可以有充分理由不这样做；未通过会如实列出，但不决定结论"),
        "MAY": ("可以", "实现可自行取舍"),
    },
}
"""Level -> its word and what it means, by language."""

VERDICTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "conformant": "conformant",
        "non_conformant": "non-conformant",
        "incomplete": "incomplete",
        "black_box_conformant": "black-box conformant",
        "black_box_non_conformant": "black-box non-conformant",
    },
    "zh": {
        "conformant": "符合",
        "non_conformant": "不符合",
        "incomplete": "不完整",
        "black_box_conformant": "黑盒符合",
        "black_box_non_conformant": "黑盒不符合",
    },
}
"""Verdict -> word, by language."""
