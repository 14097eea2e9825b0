"""Who waits is served in order, and nobody overtakes."""

import pytest

import gopark
from gopark import Chan, go
from support import settle


def test_receivers_are_served_first_come_first_served() -> None:
    def main() -> None:
        ch = Chan()
        gs = [go(ch.recv) for _ in range(50)]
        settle()
        for i in range(50):
            assert ch.try_send(i)  # a waiting receiver takes it: an unbuffered send does not park
        assert not ch.try_send("nobody left")
        assert [g.result() for g in gs] == list(range(50))

    gopark.run(main)


@pytest.mark.parametrize("cap", [0, 1, 7])
def test_senders_are_served_first_come_first_served(cap: int) -> None:
    def main() -> None:
        ch = Chan(cap)
        gs = [go(ch.send, i) for i in range(50)]
        settle()
        assert ch.statistics().senders == 50 - cap
        assert [ch.recv() for _ in range(50)] == list(range(50))
        assert all(g.join() for g in gs)

    gopark.run(main)


def test_receiver_that_was_handed_a_value_is_not_robbed_of_it() -> None:
    def main() -> None:
        ch = Chan()
        g = go(ch.recv)
        settle()
        assert ch.try_send("for g")
        # g is runnable but has not run: the value is g's already.
        assert ch.try_recv() == (None, False)
        assert g.result() == "for g"

    gopark.run(main)


def test_receive_from_a_full_buffer_lets_the_first_sender_in_at_the_end() -> None:
    def main() -> None:
        ch = Chan(2)
        ch.send("a")
        ch.send("b")
        g = go(ch.send, "c")
        settle()
        assert ch.recv() == "a"
        assert len(ch) == 2  # c is in the buffer before its sender has run
        assert not g.done
        assert not ch.try_send("d")
        assert [ch.recv(), ch.recv()] == ["b", "c"]
        g.join()

    gopark.run(main)


def test_unbuffered_send_returns_after_the_value_was_taken() -> None:
    def main() -> None:
        ch: Chan = Chan()
        log: list[str] = []

        def sender() -> None:
            ch.send(1)
            log.append("sent")

        g = go(sender)
        settle()
        assert log == []
        assert ch.recv() == 1
        g.join()
        assert log == ["sent"]

    gopark.run(main)
