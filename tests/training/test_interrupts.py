"""Ctrl-C waits for the step under way, a second one doesn't."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest
import torch

from personatune.training.interrupts import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_only_asks_to_stop(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_ctrl_c_is_what_it_was_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def leave_by_an_error() -> None:
        with StopRequest():
            assert signal.getsignal(signal.SIGINT) is not before[0]
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        leave_by_an_error()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_it_leaves_the_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with StopRequest() as stop:
            seen.extend([stop.requested, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=10)
    assert seen == [False, before]


def test_what_may_be_cut_off_is_interrupted_at_once_and_has_drawn_nothing() -> None:
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(2).tolist(), random.random()
    torch.manual_seed(3)
    random.seed(3)

    def work(stop: StopRequest) -> None:
        with stop.at_once():
            torch.rand(5)
            random.random()
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("it went on")

    with StopRequest() as stop:
        with pytest.raises(KeyboardInterrupt):
            work(stop)
        assert stop.requested
        assert not stop.hurried
    assert (torch.rand(2).tolist(), random.random()) == expected


def test_a_signal_that_came_before_is_heeded_where_work_may_be_cut_off() -> None:
    begun: list[bool] = []

    def work(stop: StopRequest) -> None:
        with stop.at_once():
            begun.append(True)

    with StopRequest() as stop:
        work(stop)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            work(stop)
    assert begun == [True]


def test_after_the_block_a_signal_waits_again_and_a_second_one_says_that_it_hurries() -> None:
    with StopRequest() as stop:
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.hurried
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.hurried


def test_with_others_in_step_nothing_is_cut_off() -> None:
    with StopRequest(alone=False) as stop, stop.at_once():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
