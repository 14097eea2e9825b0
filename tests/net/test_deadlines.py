"""Deadlines: another goroutine may move them, expiry is sticky and wins over data, clearing makes usable
again."""

import time

import pytest

import gopark
from gopark import net
from gopark.time import now

BIG = b"x" * (64 << 20)
TIMEOUT = r"127\.0\.0\.1:\d+->127\.0\.0\.1:\d+: i/o timeout$"


def test_a_deadline_wakes_a_blocked_read_not_early(tcp_pair) -> None:
    a, _ = tcp_pair()
    when = now() + 0.05
    a.set_read_deadline(when)
    with pytest.raises(net.DeadlineExceeded, match=r"^read tcp " + TIMEOUT) as e:
        a.read()
    assert now() >= when
    assert isinstance(e.value, TimeoutError)


@pytest.mark.parametrize("when", [0.0, -1.0, -1e30, 1e-9])
def test_past_deadline_wakes_blocked_read(tcp_pair, blocked, when: float) -> None:
    a, _ = tcp_pair()
    reader = blocked(a.read)
    a.set_read_deadline(when)
    with pytest.raises(net.DeadlineExceeded):
        reader.result(timeout=10)


def test_past_deadline_wakes_blocked_write_and_its_error_says_how_much_went(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    writer = blocked(a.write, BIG)
    a.set_write_deadline(now() - 1)
    with pytest.raises(net.DeadlineExceeded, match=r"^write tcp " + TIMEOUT) as e:
        writer.result(timeout=10)
    a.close_write()
    got = 0
    while data := b.read(1 << 20):
        got += len(data)
    assert got == e.value.written > 0


def test_past_deadline_wakes_blocked_accept_and_clearing_makes_usable_again(blocked) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        accepting = blocked(listener.accept)
        listener.set_deadline(now() - 1)
        with pytest.raises(net.DeadlineExceeded, match=r"^accept tcp 127\.0\.0\.1:\d+: i/o timeout$"):
            accepting.result(timeout=10)
        listener.set_deadline(None)
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}"), listener.accept():
            pass


def test_one_deadline_for_both_directions_wakes_both(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    both = [blocked(a.read), blocked(a.write, BIG)]
    a.set_deadline(now() + 0.02)
    for g in both:
        with pytest.raises(net.DeadlineExceeded):
            g.result(timeout=10)


def test_the_directions_are_independent(tcp_pair) -> None:
    a, b = tcp_pair()
    a.set_read_deadline(now() - 1)
    a.write(b"still")
    assert b.read() == b"still"
    a.set_read_deadline(None)
    a.set_write_deadline(now() - 1)
    b.write(b"yes")
    assert a.read() == b"yes"
    with pytest.raises(net.DeadlineExceeded):
        a.write(b"no")


def test_expiry_is_sticky_and_wins_over_data_that_is_ready(tcp_pair) -> None:
    a, b = tcp_pair()
    b.write(b"ready")
    a.wait_readable()
    a.set_read_deadline(now() - 1)
    for _ in range(3):
        with pytest.raises(net.DeadlineExceeded):
            a.read()
        with pytest.raises(net.DeadlineExceeded):
            a.wait_readable()
    a.set_read_deadline(None)
    assert a.read() == b"ready"


def test_an_extended_deadline_does_not_fire_early(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    a.set_read_deadline(now() + 0.02)
    reader = blocked(a.read)
    a.set_read_deadline(now() + 30)
    gopark.sleep(0.06)  # past the first deadline: the one thing that only time can show
    assert not reader.done
    b.write(b"in time")
    assert reader.result(timeout=10) == b"in time"


def test_a_deadline_brought_forward_fires_then(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    a.set_read_deadline(now() + 3600)
    reader = blocked(a.read)
    a.set_read_deadline(now() + 0.02)
    with pytest.raises(net.DeadlineExceeded):
        reader.result(timeout=10)


def test_a_cleared_deadline_does_not_fire(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    a.set_deadline(now() + 0.02)
    reader = blocked(a.read)
    a.set_deadline(None)
    gopark.sleep(0.05)
    assert not reader.done
    b.write(b"x")
    assert reader.result(timeout=10) == b"x"


def test_a_deadline_too_far_away_means_never(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    for when in (1e10, 1e300, float("inf")):
        a.set_deadline(when)
        reader = blocked(a.read)
        b.write(b"x")
        assert reader.result(timeout=10) == b"x"


def test_data_and_deadline_at_the_same_moment_lose_neither(tcp_pair) -> None:
    a, b = tcp_pair()
    timeouts = 0
    for i in range(300):
        a.set_read_deadline(now() + (i % 30) * 20e-6)
        writer = gopark.go(b.write, b"x")
        try:
            got = a.read()
        except net.DeadlineExceeded:
            timeouts += 1
            a.set_read_deadline(None)
            got = a.read()
        assert got == b"x"
        writer.result()
    assert timeouts > 0


def test_a_deadline_renewed_for_each_message_leaves_no_timer_behind(tcp_pair) -> None:
    a, b = tcp_pair()
    for _ in range(2000):
        a.set_read_deadline(now() + 100)
        b.write(b"x")
        a.read()
    assert gopark.statistics().timers <= 1


def test_zero_length_read_returns_at_once_whatever_the_deadline(tcp_pair) -> None:
    a, _ = tcp_pair()
    a.set_deadline(now() - 1)
    assert a.read(0) == b""
    assert a.read_into(bytearray()) == 0
    assert a.read_exactly(0) == b""


def test_zero_length_write_does_check_the_deadline(tcp_pair) -> None:
    a, _ = tcp_pair()
    assert a.write(b"") == 0
    assert a.write(bytearray()) == 0
    assert a.writev([]) == a.writev([b"", b""]) == 0
    a.set_write_deadline(now() - 1)
    for call in (lambda: a.write(b""), lambda: a.writev([])):
        with pytest.raises(net.DeadlineExceeded):
            call()


def test_set_timeout_gives_each_call_its_own_time(tcp_pair) -> None:
    a, b = tcp_pair()
    a.set_timeout(0.03)
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(net.DeadlineExceeded):
            a.read()
        assert time.monotonic() - began >= 0.03
    b.write(b"x")
    assert a.read() == b"x"
    with pytest.raises(net.DeadlineExceeded):
        a.write(BIG)
    a.set_timeout(None)
    b.write(b"y")
    assert a.read() == b"y"


def test_set_timeout_counts_for_wait_readable_raw_calls_and_send_file(tcp_pair, tmp_path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    a, _ = tcp_pair()
    a.set_timeout(0.02)
    with open(path, "rb") as file:
        for call in (
            a.wait_readable,
            lambda: a.raw_read(lambda fd: False),
            lambda: a.send_file(file),
            lambda: a.write(BIG),
        ):
            with pytest.raises(net.DeadlineExceeded):
                call()


def test_read_exactly_hands_over_what_came_before_the_deadline(tcp_pair) -> None:
    a, b = tcp_pair()
    b.write(b"part")
    a.set_read_deadline(now() + 0.03)
    with pytest.raises(net.DeadlineExceeded) as e:
        a.read_exactly(10)
    assert e.value.partial == b"part"
