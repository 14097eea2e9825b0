"""Ticker: regular ticks, none stale, none piled up."""

import pytest

import gopark
from gopark import time
from support import python


def test_ticks_come_at_multiples_of_the_interval() -> None:
    def main() -> None:
        began = time.now()
        ticker = time.Ticker(0.002)
        ticks = [ticker.c.recv() for _ in range(4)]
        for i, tick in enumerate(ticks):
            assert tick - began >= 0.002 * (i + 1)
        assert ticker.stop() is True and ticker.stop() is False

    gopark.run(main)


def test_slow_receiver_finds_one_tick_not_a_pile() -> None:
    def main() -> None:
        ticker = time.Ticker(0.001)
        gopark.sleep(0.01)
        assert len(ticker.c) == 1
        ticker.stop()

    gopark.run(main)


def test_stop_leaves_no_tick_behind_and_does_not_close() -> None:
    def main() -> None:
        ticker = time.Ticker(0.001)
        gopark.sleep(0.003)
        ticker.stop()
        assert ticker.c.try_recv() == (None, False)
        gopark.sleep(0.003)
        assert ticker.c.try_recv() == (None, False)
        assert not ticker.c.closed

    gopark.run(main)


def test_reset_changes_the_interval_and_starts_a_stopped_one() -> None:
    def main() -> None:
        ticker = time.Ticker(60)
        ticker.reset(0.001)
        ticker.c.recv()
        ticker.stop()
        ticker.reset(0.001)
        ticker.c.recv()
        ticker.stop()

    gopark.run(main)


@pytest.mark.parametrize("seconds", [0, -1])
def test_interval_must_be_positive(seconds: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        time.Ticker(seconds)


def test_ticker_faster_than_the_scheduler_keeps_neither_network_nor_signals_out() -> None:
    done = python("""
        import gopark, os, signal, threading
        from gopark import net, time
        def main():
            a, b = net.pipe()
            ticker = time.Ticker(1e-7)
            writer = threading.Timer(0.05, os.write, (b.fileno(), b"x"))
            writer.start()
            print(a.read())
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try: gopark.Chan().recv()
            except KeyboardInterrupt: print("interrupted")
        gopark.run(main)
    """)
    assert done.stdout.split() == ["b'x'", "interrupted"]
