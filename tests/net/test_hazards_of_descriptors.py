"""What docs/netpoll.md says under "Hazards": descriptors closed behind the poller's back, and duplicates."""

import errno
import os

import pytest

import gopark
from gopark import net


def test_close_behind_the_back_leaves_the_reader_blocked_until_conn_close(blocked) -> None:
    """The kernel forgets the registration, so no event comes; and the number may be another's by then."""
    a, b = net.pipe()
    g = blocked(a.read)
    number = a.fileno()
    os.close(number)
    with pytest.raises(BrokenPipeError):
        b.write(b"x")
    assert not g.join(0.01)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, number)  # somebody else opens a file, and gets the number
    os.close(null)
    a.close()
    with pytest.raises(net.ClosedError):
        g.result(10)
    with pytest.raises(OSError) as failure:
        os.fstat(number)  # closed with the connection: this is the hazard
    assert failure.value.errno == errno.EBADF
    b.close()


def test_a_deadline_wakes_a_reader_whose_descriptor_was_closed_behind_the_back(blocked) -> None:
    a, b = net.pipe()
    g = blocked(a.read)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, a.fileno())  # closes it, and keeps the number taken
    os.close(null)
    a.set_read_deadline(-1)
    with pytest.raises(net.DeadlineExceeded):
        g.result(10)
    a.close()
    b.close()


def test_a_duplicate_that_outlives_the_connection_does_no_harm() -> None:
    """close deregisters first: nothing of the duplicate's events comes back."""
    a, b = net.pipe()
    duplicate = os.dup(a.fileno())
    a.close()
    gopark.sleep(0.001)  # polls: b's first edge, that it is writable
    before = gopark.statistics()
    b.write(b"for the duplicate")
    gopark.sleep(0.001)
    after = gopark.statistics()
    assert (after.stale_events, after.events) == (before.stale_events, before.events)
    assert os.read(duplicate, 100) == b"for the duplicate"
    os.close(duplicate)
    b.close()


def test_a_duplicate_keeps_the_registration_of_what_was_closed_behind_the_back(blocked) -> None:
    a, b = net.pipe()
    g = blocked(a.read)
    duplicate, number = os.dup(a.fileno()), a.fileno()
    os.close(number)
    b.write(b"x")
    with pytest.raises(OSError) as failure:
        g.result(10)
    assert failure.value.errno == errno.EBADF
    os.dup2(duplicate, number)  # so that close finds what it registered
    os.close(duplicate)
    a.close()
    b.close()
