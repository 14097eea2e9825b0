"""gopark.signal: signals as values on channels."""

import os
import signal

import pytest

import gopark
from support import goroutines


@goroutines
def test_a_signal_arrives_on_the_channel() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    gopark.signal.notify(ch, signal.SIGUSR2)
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert ch.recv() is signal.SIGUSR2
    finally:
        gopark.signal.stop(ch)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


@goroutines
def test_a_parked_receiver_on_an_unbuffered_channel_gets_it() -> None:
    ch: gopark.Chan = gopark.Chan()
    gopark.signal.notify(ch, signal.SIGUSR2)
    try:
        receiver = gopark.go(ch.recv)
        gopark.sleep(0)
        while not receiver.done:
            os.kill(os.getpid(), signal.SIGUSR2)
            gopark.sleep(0.001)
        assert receiver.result() == signal.SIGUSR2
    finally:
        gopark.signal.stop(ch)


@goroutines
def test_a_full_channel_drops_and_blocks_nobody() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    gopark.signal.notify(ch, signal.SIGUSR2)
    try:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR2)
            gopark.sleep(0.001)
        assert len(ch) == 1
    finally:
        gopark.signal.stop(ch)


@goroutines
def test_each_of_several_channels_gets_it_until_it_is_stopped() -> None:
    one: gopark.Chan = gopark.Chan(4)
    two: gopark.Chan = gopark.Chan(4)
    gopark.signal.notify(one, signal.SIGUSR2, signal.SIGHUP)
    gopark.signal.notify(two, signal.SIGUSR2)
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert (one.recv(), two.recv()) == (signal.SIGUSR2, signal.SIGUSR2)
        gopark.signal.stop(one)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert two.recv() == signal.SIGUSR2
        assert len(one) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        gopark.signal.reset()


@goroutines
def test_ignore_and_reset() -> None:
    gopark.signal.ignore(signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR2)  # would end the process
    gopark.signal.reset(signal.SIGUSR2)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


@pytest.mark.parametrize("bad", [signal.SIGKILL, signal.SIGSTOP, 0, 1000, "USR1"])
def test_a_bad_signal_is_named(bad: object) -> None:
    with pytest.raises(ValueError, match="notify: "):
        gopark.signal.notify(gopark.Chan(1), bad)  # type: ignore[arg-type]


def test_without_a_channel_or_signals() -> None:
    with pytest.raises(TypeError, match=r"ch must be a gopark\.Chan"):
        gopark.signal.notify([], signal.SIGINT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one signal"):
        gopark.signal.notify(gopark.Chan(1))
