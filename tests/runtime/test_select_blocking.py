"""A select that has to wait: exactly one of its cases happens."""

import subprocess
import sys

import pytest

import gopark
from gopark import Cancelled, Chan, go, select
from support import settle


def test_losers_are_dequeued_when_one_case_happens() -> None:
    def main() -> None:
        chans = [Chan() for _ in range(10)]
        g = go(select, *(ch.on_recv() for ch in chans))
        settle()
        assert all(ch.statistics().receivers == 1 for ch in chans)
        assert chans[7].try_send("x")
        assert all(ch.statistics().receivers == 0 for ch in chans)  # before the goroutine has run
        assert not any(ch.try_send("y") for ch in chans)
        assert g.result() == (7, "x", True)

    gopark.run(main)


def test_same_channel_twice_in_a_select_happens_once() -> None:
    def main() -> None:
        ch = Chan()
        g = go(select, ch.on_recv(), ch.on_recv(), ch.on_recv())
        settle()
        assert ch.try_send(1)
        assert not ch.try_send(2)
        index, value, ok = g.result()
        assert index in (0, 1, 2) and (value, ok) == (1, True)
        g = go(select, ch.on_send(1), ch.on_send(2))
        settle()
        value = ch.recv()
        assert g.result() == (value - 1, None, True)
        assert ch.try_recv() == (None, False)

    gopark.run(main)


def test_select_is_no_partner_for_itself() -> None:
    def main() -> None:
        ch = Chan()
        assert select(ch.on_send(1), ch.on_recv(), timeout=0.001) == (-1, None, False)
        assert ch.statistics().senders == ch.statistics().receivers == 0

    gopark.run(main)


@pytest.mark.parametrize("cap", [0, 1, 10])
def test_two_goroutines_that_select_send_and_receive_on_one_channel(cap: int) -> None:
    # Without a buffer every value received was sent by the other one; none gets lost.
    def main() -> None:
        ch = Chan(cap)
        sent: list[tuple[int, int]] = []
        got: list[tuple[int, int]] = []

        def both(me: int) -> None:
            for i in range(500):
                if i % 2 == 0:
                    index, value, _ok = select(ch.on_send((me, i)), ch.on_recv())
                else:
                    index, value, _ok = select(ch.on_recv(), ch.on_send((me, i)))
                if index == i % 2:
                    sent.append((me, i))
                else:
                    got.append(value)
                    assert cap > 0 or value[0] != me

        gs = [go(both, 0), go(both, 1)]
        while not all(g.done for g in gs):  # when one has ended, the other may lack a partner
            gopark.gosched()
            if gopark.statistics().runqueue == 0:
                index, value, _ok = select(ch.on_send((2, 0)), ch.on_recv(), default=True)
                if index == 0:
                    sent.append((2, 0))
                elif index == 1:
                    got.append(value)
        for g in gs:
            g.result()
        while (left := ch.try_recv())[1]:
            got.append(left[0])
        assert sorted(sent) == sorted(got)

    gopark.run(main)


def test_nil_channel_case_never_happens() -> None:
    def main() -> None:
        ch = Chan()
        g = go(select, None, ch.on_recv(), None)
        settle()
        ch.send("x")
        assert g.result() == (1, "x", True)
        g = go(select, None, None)
        settle()
        assert g.waitreason == "select (no cases)"
        g.cancel()
        g.join()
        assert isinstance(g.exception, Cancelled)

    gopark.run(main)


def test_select_of_nothing_blocks_forever() -> None:
    def main() -> None:
        g = go(select)
        settle()
        assert g.waitreason == "select (no cases)"
        g.cancel()
        assert g.join(timeout=5)

    gopark.run(main)


@pytest.mark.parametrize(
    "program, reason",
    [
        ("gopark.run(gopark.select)", "select (no cases)"),
        ("gopark.run(gopark.Chan().recv)", "chan receive"),
        ("gopark.run(gopark.Chan().send, 1)", "chan send"),
        ("gopark.run(gopark.select, gopark.Chan().on_recv(), None)", "select"),
        ("gopark.run(gopark.select, None)", "chan receive (nil chan)"),
        ("gopark.run(gopark.select, None, None)", "select (no cases)"),
    ],
)
def test_deadlock_is_reported_with_the_wait_reason(program: str, reason: str) -> None:
    # In a process of its own: other threads of this one could still wake somebody.
    code = f"import gopark; {program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "all goroutines are asleep - deadlock!" in done.stderr
    assert f"[{reason}]" in done.stderr


def test_ping_pong_across_select() -> None:
    def main() -> None:
        ping, pong, done = Chan(), Chan(), Chan()

        def player() -> int:
            hits = 0
            while True:
                index, value, _ok = select(done.on_recv(), ping.on_recv())
                if index == 0:
                    return hits
                hits += 1
                assert select(pong.on_send(value + 1), done.on_recv())[0] == 0

        g = go(player)
        value = 0
        for _ in range(500):
            assert select(done.on_recv(), ping.on_send(value))[0] == 1
            index, value, ok = select(pong.on_recv(), done.on_recv())
            assert (index, ok) == (0, True)
        done.close()
        assert (g.result(), value) == (500, 500)

    gopark.run(main)


def test_competing_selects_share_the_values() -> None:
    def main() -> None:
        a, b = Chan(), Chan()
        gs = [go(select, a.on_recv(), b.on_recv()) for _ in range(6)]
        settle()
        for i in range(3):
            assert a.try_send(i)
            assert b.try_send(10 + i)
        assert not a.try_send("nobody left")
        results = [g.result() for g in gs]
        assert results == [(i % 2, i // 2 + 10 * (i % 2), True) for i in range(6)]

    gopark.run(main)
