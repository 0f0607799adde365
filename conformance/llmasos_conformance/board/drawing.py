"""Plots as SVG that stands in the page: no script, no font, no colour that says anything alone.

A plot is one picture to a screen reader, with a title and a sentence; the numbers stand in a table beside it. Places
are rounded to tenths of a unit, so that the same numbers give the same bytes on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from llmasos_conformance.pages.markup import Html, el

WIDTH, LEFT, RIGHT = 640, 44, 12
"""Units of a plot, and of its margins; one unit is a pixel where there is room."""


def at(value: float) -> str:
    """A place as SVG has it: at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def picture(name: str, title: str, description: str, height: int, *parts: object, left: int = 0) -> Html:
    """An SVG with title and description.

    Args:
        name: unique in the page. height: in units. left: further units of margin on the left.
    """
    return el(
        "svg", el("title", title, id=f"{name}.t"), el("desc", description, id=f"{name}.d"), parts,
        viewBox=f"{-left} 0 {WIDTH + left} {height}", role="img", aria_labelledby=f"{name}.t",
        aria_describedby=f"{name}.d",
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return el("path", d=f"M{at(x1)} {at(y1)}L{at(x2)} {at(y2)}", class_=kind)


def label(x: float, y: float, text: str, kind: str = "") -> Html:
    return el("text", text, x=at(x), y=at(y), class_=kind or None)


# ── shares of a bound, which go over many powers of ten ──────────────────────────────────────────────────────────────


class Powers:
    """A logarithmic axis from one power of ten to another; what lies beyond stands at its end."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        finite = [value for value in values if 0 < value < math.inf]
        low = math.floor(math.log10(min([*finite, 0.1])))
        high = math.ceil(math.log10(max([*finite, 1.0])))
        self.low, self.high = max(low, -4), min(max(high, 1), 12)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        power = self.high if math.isnan(value) or value == math.inf else math.log10(max(value, 10.0**self.low))
        part = (min(max(power, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    @property
    def ticks(self) -> list[int]:
        step = max(1, (self.high - self.low + 5) // 6)
        return [power for power in range(self.low, self.high + 1) if power % step == 0]


def power(number: int) -> str:
    """A power of ten as one reads it: 0.01, 1, 100, 10⁶."""
    if -3 <= number <= 3:
        return f"{10.0**number:g}"
    return "10" + str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def curve(name: str, title: str, description: str, shares: Sequence[float | None], bound: str, along: str) -> Html:
    """Shares of a bound along positions or layers: dots within, crosses beyond.

    Args:
        bound, along: labels of the bound and of the axis.
    """
    top, bottom = 18, 150
    axis = Powers([share for share in shares if share is not None], bottom, top)
    step = (WIDTH - LEFT - RIGHT) / max(len(shares), 1)
    dots, crosses = [], []
    for number, share in enumerate(shares):
        if share is None:
            continue
        x, y = LEFT + (number + 0.5) * step, axis(share)
        if share <= 1:
            dots.append(f"M{at(x - 2.5)} {at(y)}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0")
        else:
            crosses.append(f"M{at(x - 3)} {at(y - 3)}l6 6m-6 0l6-6")
    every = max(1, -(-len(shares) // 16))
    return picture(
        name, title, description, 182,
        [[line(LEFT, axis(10.0**tick), WIDTH - RIGHT, axis(10.0**tick), "grid"),
          label(LEFT - 6, axis(10.0**tick) + 4, power(tick), "end")] for tick in axis.ticks],
        line(LEFT, axis(1), WIDTH - RIGHT, axis(1), "bound"), label(WIDTH - RIGHT, axis(1) - 5, bound, "end strong"),
        [label(LEFT + (number + 0.5) * step, bottom + 15, str(number), "middle")
         for number in range(0, len(shares), every)],
        label((WIDTH + LEFT) / 2, bottom + 30, along, "middle"),
        el("path", d="".join(dots), class_="dots") if dots else None,
        el("path", d="".join(crosses), class_="crosses") if crosses else None,
    )  # fmt: skip


def strips(
    name: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[float]]], bound: str, along: str
) -> Html:
    """A strip for each chapter, with a mark for each case at the share of its bound: upright within, crossed beyond."""
    row, top = 26, 20
    margin = max(0, round(max(_wide(chapter) for chapter, _ in rows)) + 16 - LEFT)
    axis = Powers([share for _, shares in rows for share in shares], LEFT, WIDTH - RIGHT)
    bottom = top + row * len(rows)
    marks = []
    for number, (chapter, shares) in enumerate(rows):
        y = top + row * number + row / 2
        within = "".join(f"M{at(axis(share))} {at(y - 7)}v14" for share in sorted(shares) if share <= 1)
        beyond = "".join(
            f"M{at(axis(share) - 3)} {at(y - 3)}l6 6m-6 0l6-6" for share in sorted(shares) if not share <= 1
        )
        marks += [
            label(LEFT - 12, y + 4, chapter, "end"), line(LEFT, y, WIDTH - RIGHT, y, "grid"),
            el("path", d=within, class_="ticks") if within else None,
            el("path", d=beyond, class_="crosses") if beyond else None,
        ]  # fmt: skip
    return picture(
        name, title, description, bottom + 38,
        [[line(axis(10.0**tick), top, axis(10.0**tick), bottom, "grid"),
          label(axis(10.0**tick), bottom + 16, power(tick), "middle")] for tick in axis.ticks],
        line(axis(1), top - 4, axis(1), bottom, "bound"), label(axis(1), top - 8, bound, "middle strong"),
        label((WIDTH + LEFT) / 2, bottom + 33, along, "middle"), marks, left=margin,
    )  # fmt: skip


def _wide(text: str) -> float:
    """About how many units a label takes; a Chinese character is as wide as it is high."""
    return sum(12.0 if char > "⺀" else 6.6 for char in text)


# ── what came and what was due ───────────────────────────────────────────────────────────────────────────────────────


def bars(name: str, title: str, description: str, letters: str, came: Sequence[int], due: Sequence[float]) -> Html:
    """A bar for what came of each letter, and a line across it where the law has it."""
    top, bottom = 12, 150
    most = max([*came, *due, 1.0])
    step = (WIDTH - LEFT - RIGHT) / len(letters)
    wide = step * 0.7
    heights = [(bottom - top) * count / most for count in came]
    lows = [bottom - (bottom - top) * count / most for count in due]
    middles = [LEFT + (number + 0.5) * step for number in range(len(letters))]
    boxes = "".join(
        f"M{at(x - wide / 2)} {bottom}v{at(-height)}h{at(wide)}v{at(height)}z"
        for x, height in zip(middles, heights, strict=True)
    )
    lines = "".join(f"M{at(x - step * 0.45)} {at(y)}h{at(step * 0.9)}" for x, y in zip(middles, lows, strict=True))
    ticks = [(round(most * part), bottom - (bottom - top) * round(most * part) / most) for part in (0, 0.5, 1)]
    return picture(
        name, title, description, 174,
        [[line(LEFT, y, WIDTH - RIGHT, y, "grid"), label(LEFT - 6, y + 4, str(tick), "end")] for tick, y in ticks],
        el("path", d=boxes, class_="bars"), el("path", d=lines, class_="due"),
        [label(x, bottom + 15, letter, "middle") for x, letter in zip(middles, letters, strict=True)],
    )  # fmt: skip
