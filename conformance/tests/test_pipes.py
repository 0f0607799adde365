"""What waits for answers, by itself: what a fault over a pipe comes to stands in test_faults."""

from __future__ import annotations

import os
import time

import pytest

from llmasos_conformance.adapters import pipes

pytestmark = pytest.mark.skipif(not pipes.POLLS, reason="this system has no poll, and never makes these")


@pytest.fixture(params=[1, 2], ids=["one processor", "two processors"])
def polled(request, monkeypatch):
    """Pipes of a machine with so many processors, and what the child at their other end reads and writes."""
    monkeypatch.setattr(pipes, "_processors", lambda: request.param)
    asks, answers = os.pipe(), os.pipe()
    yield pipes.Polled(asks[1], answers[0]), asks[0], answers[1]
    for descriptor in (*asks, *answers):
        os.close(descriptor)


def test_an_answer_is_read_whether_it_is_there_at_once_or_later(polled):
    made, asked, answered = polled
    made.ask(b"a question\n")
    assert os.read(asked, 100) == b"a question\n"
    os.write(answered, b"an answer\n")
    assert made.read(time.monotonic() + 5) == b"an answer\n"


def test_what_does_not_come_is_late_at_its_deadline(polled):
    made, _, _ = polled
    for limit in (0.0, pipes.AWAKE_S / 2, 0.05):
        began = time.monotonic()
        with pytest.raises(pipes.Late):
            made.read(began + limit)
        assert time.monotonic() - began >= limit


@pytest.fixture
def pipe():
    descriptors = os.pipe()
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_on_one_processor_nobody_looks_while_the_other_side_works(pipe, monkeypatch):
    monkeypatch.setattr(pipes, "_processors", lambda: 1)
    os.write(pipe[1], b"x")
    assert not pipes.Lookout(pipe[0]).sees()


def test_after_a_look_in_vain_nobody_looks_once_and_after_more_of_them_twice_as_often(pipe, monkeypatch):
    monkeypatch.setattr(pipes, "_processors", lambda: 2)
    monkeypatch.setattr(pipes, "AWAKE_S", 0.0)
    monkeypatch.setattr(pipes, "RESTS", 4)
    looks, lookout = [], pipes.Lookout(pipe[0])
    real = pipes.time.monotonic
    monkeypatch.setattr(pipes.time, "monotonic", lambda: looks.append(1) or real())

    def looked():
        before = len(looks)
        lookout.sees()
        return len(looks) > before

    assert [looked() for _ in range(16)] == [
        True, False, True, False, False, True, *[False] * 4, True, *[False] * 4, True,
    ]  # fmt: skip


def test_who_sees_something_looks_the_next_time_too(pipe, monkeypatch):
    monkeypatch.setattr(pipes, "_processors", lambda: 2)
    lookout = pipes.Lookout(pipe[0])
    assert not lookout.sees()
    os.write(pipe[1], b"x")
    assert [lookout.sees() for _ in range(3)] == [False, True, True]
