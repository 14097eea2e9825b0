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


@goroutines
def test_stop_on_another_thread_is_refused_and_changes_nothing() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    gopark.signal.notify(ch, signal.SIGUSR2)
    try:
        with pytest.raises(RuntimeError, match="stop: signals can only be handled on the main thread"):
            gopark.blocking(gopark.signal.stop, ch)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert ch.recv() is signal.SIGUSR2
    finally:
        gopark.signal.stop(ch)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_interrupts_are_mains_again_after_a_channel_that_had_them_before_the_run() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    gopark.signal.notify(ch, signal.SIGINT)

    def main() -> None:
        gopark.signal.stop(ch)
        spinning = True

        def spin() -> None:
            while spinning:
                gopark.gosched()

        g = gopark.go(spin)
        try:
            with pytest.raises(KeyboardInterrupt):
                gopark.go(os.kill, os.getpid(), signal.SIGINT)
                gopark.Chan().recv()
            assert not g.done
        finally:
            spinning = False

    gopark.run(main)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@goroutines
def test_channel_for_sigurg_leaves_preemption_on() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    gopark.signal.notify(ch, signal.SIGURG)
    os.kill(os.getpid(), signal.SIGURG)
    assert ch.recv() is signal.SIGURG
    ran: list[int] = []
    gopark.go(ran.append, 1)
    end = gopark.time.now() + 20
    while not ran and gopark.time.now() < end:
        pass
    assert ran
    gopark.signal.stop(ch)
    while ch.try_recv()[1]:
        pass
    os.kill(os.getpid(), signal.SIGURG)
    gopark.sleep(0.001)
    assert ch.try_recv() == (None, False)


@goroutines
def test_real_time_signals_have_numbers_only() -> None:
    ch: gopark.Chan = gopark.Chan(1)
    number = signal.SIGRTMIN + 3
    gopark.signal.notify(ch, number)
    try:
        os.kill(os.getpid(), number)
        assert ch.recv() == number
    finally:
        gopark.signal.stop(ch)
