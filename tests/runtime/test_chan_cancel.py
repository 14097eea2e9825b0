"""Cancellation and time-outs leave the waiting lists sound, and lose no value."""

import pytest

import gopark
from gopark import Cancelled, Chan, go, select
from support import settle


def test_cancelled_receiver_gives_its_place_to_the_next() -> None:
    def main() -> None:
        ch = Chan()
        first, second, third = gs = [go(ch.recv) for _ in range(3)]
        settle()
        second.cancel()
        assert [ch.try_send(i) for i in range(3)] == [True, True, False]
        for g in gs:
            g.join()
        assert (first.result(), third.result()) == (0, 1)
        assert isinstance(second.exception, Cancelled)

    gopark.run(main)


def test_cancelled_sender_takes_its_value_along() -> None:
    def main() -> None:
        ch = Chan(1)
        gs = [go(ch.send, i) for i in range(4)]
        settle()
        gs[1].cancel()
        gs[3].cancel()
        assert [ch.recv(), ch.recv()] == [0, 2]
        assert ch.try_recv() == (None, False)
        for g in gs:
            g.join()
        assert [isinstance(g.exception, Cancelled) for g in gs] == [False, True, False, True]

    gopark.run(main)


def test_value_handed_to_a_goroutine_that_is_then_cancelled_is_delivered() -> None:
    def main() -> None:
        ch, out = Chan(), Chan(1)

        def receiver() -> None:
            out.send(ch.recv())  # room in out: does not park, so the cancellation still waits
            gopark.gosched()
            raise AssertionError("the cancellation got lost")

        g = go(receiver)
        settle()
        assert ch.try_send("delivered")
        g.cancel()
        g.join()
        assert isinstance(g.exception, Cancelled)
        assert out.recv() == "delivered"

    gopark.run(main)


def test_cancel_before_the_park_ends_the_park_and_sends_nothing() -> None:
    def main() -> None:
        ch = Chan()

        def sender() -> None:
            gopark.current().cancel()
            ch.send(1)

        g = go(sender)
        g.join()
        assert isinstance(g.exception, Cancelled)
        assert ch.try_recv() == (None, False)

    gopark.run(main)


def test_cancelled_goroutine_still_does_what_need_not_park() -> None:
    def main() -> None:
        ch = Chan(1)

        def sender() -> str:
            gopark.current().cancel()
            ch.send(1)
            return "sent"

        assert go(sender).result() == "sent"
        assert ch.recv() == 1

    gopark.run(main)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_select_that_is_given_up_leaves_all_its_lists(how: str) -> None:
    def main() -> None:
        a, b, c = Chan(), Chan(), Chan(1)
        c.send("full")
        cases = (a.on_recv(), b.on_send(1), c.on_send(2), a.on_recv())
        if how == "cancel":
            g = go(select, *cases)
            settle()
            assert a.statistics().receivers == 2
            g.cancel()
            g.join()
        else:
            assert select(*cases, timeout=0.001) == (-1, None, False)
        for ch in (a, b, c):
            assert ch.statistics().receivers == ch.statistics().senders == 0
        assert not a.try_send("nobody")
        assert b.try_recv() == (None, False)

    gopark.run(main)


def test_time_out_and_value_in_the_same_moment_happen_once() -> None:
    def main() -> None:
        ch = Chan()
        received = lost = 0
        for i in range(200):
            # Both wake from timers of the same age; either may be first.
            g = go(select, ch.on_recv(), timeout=0.0002)
            gopark.sleep(0.0002)
            sent = ch.try_send(i)
            index, value, _ok = g.result()
            assert (index, value) == ((0, i) if sent else (-1, None))
            received += sent
            lost += not sent
        assert received + lost == 200
        assert ch.statistics().receivers == 0

    gopark.run(main)
