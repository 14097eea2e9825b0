"""close wakes everybody, once, with the right news."""

import pytest

import gopark
from gopark import Chan, ChanClosed, go, select
from support import settle


def test_close_wakes_all_receivers_in_their_order() -> None:
    def main() -> None:
        ch = Chan()
        order: list[int] = []

        def receiver(i: int) -> None:
            assert ch.recv_ok() == (None, False)
            order.append(i)

        gs = [go(receiver, i) for i in range(20)]
        settle()
        ch.close()
        for g in gs:
            g.result()
        # Who is woken last runs next, on its waker's turn; the others in their order.
        assert order[0] == 19 or order[-1] == 19
        assert [i for i in order if i != 19] == list(range(19))

    gopark.run(main)


def test_close_makes_all_blocked_senders_fail_and_keeps_the_buffer() -> None:
    def main() -> None:
        ch = Chan(1)
        ch.send("kept")
        gs = [go(ch.send, i) for i in range(5)]
        settle()
        ch.close()
        for g in gs:
            with pytest.raises(ChanClosed, match="send on closed channel"):
                g.result()
        assert list(ch) == ["kept"]

    gopark.run(main)


def test_close_during_select_wakes_it_with_not_ok() -> None:
    def main() -> None:
        a, b = Chan(), Chan()
        g = go(select, a.on_recv(), b.on_recv())
        settle()
        b.close()
        assert g.result() == (1, None, False)
        assert a.statistics().receivers == 0

    gopark.run(main)


def test_close_during_a_select_that_sends_raises() -> None:
    def main() -> None:
        a, b = Chan(), Chan()
        g = go(select, a.on_send(1), b.on_recv())
        settle()
        a.close()
        with pytest.raises(ChanClosed, match="send on closed channel"):
            g.result()
        assert b.statistics().receivers == 0

    gopark.run(main)


def test_closing_two_channels_of_one_select_counts_once() -> None:
    def main() -> None:
        a, b = Chan(), Chan()
        g = go(select, a.on_recv(), b.on_recv())
        settle()
        b.close()
        a.close()
        assert g.result() == (1, None, False)

    gopark.run(main)


def test_range_over_a_channel_ends_when_another_goroutine_closes_it() -> None:
    def main() -> None:
        ch = Chan()
        g = go(lambda: list(ch))
        for i in range(5):
            ch.send(i)
        ch.close()
        assert g.result() == [0, 1, 2, 3, 4]

    gopark.run(main)
