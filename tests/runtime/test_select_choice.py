"""Which case a select takes: any that is ready, each with the same chance."""

import collections
import sys
from typing import Any

import pytest

import gopark
from gopark import Chan, ChanClosed, select


def seeded(n: int) -> None:
    sys.modules["gopark.runtime.select"].seed(n)  # type: ignore[attr-defined]


def closed() -> Chan:
    ch = Chan()
    ch.close()
    return ch


@pytest.mark.parametrize("n", [2, 3, 5])
def test_ready_cases_are_chosen_equally_often(n: int) -> None:
    seeded(1)
    cases: list[Any] = []
    for _ in range(n):  # cases that are not ready between those that are must not shift the odds
        cases += [Chan().on_recv(), closed().on_recv(), None, Chan().on_send(1)]
    rounds = 3000
    counts = collections.Counter(select(*cases)[0] for _ in range(rounds))
    assert set(counts) == {4 * i + 1 for i in range(n)}
    # Five standard deviations.
    p = 1 / n
    margin = 5 * (rounds * p * (1 - p)) ** 0.5
    assert all(abs(count - rounds * p) < margin for count in counts.values())


def test_consecutive_choices_are_not_a_pattern() -> None:
    seeded(2)
    a, b = closed(), closed()
    pairs = collections.Counter()
    last = 0
    for _ in range(4000):
        index = select(a.on_recv(), b.on_recv())[0]
        pairs[last, index] += 1
        last = index
    assert len(pairs) == 4
    assert min(pairs.values()) > 800


def test_same_seed_same_choices() -> None:
    a, b, c = closed(), closed(), closed()

    def choices() -> list[int]:
        seeded(7)
        return [select(a.on_recv(), b.on_recv(), c.on_recv())[0] for _ in range(50)]

    assert choices() == choices()


def test_send_and_receive_cases() -> None:
    a, b = Chan(1), Chan(1)
    assert select(a.on_send("x"), b.on_recv()) == (0, None, True)
    assert select(a.on_send("y"), b.on_recv(), a.on_recv()) == (2, "x", True)


def test_default_is_taken_only_if_nothing_is_ready() -> None:
    a = Chan(1)
    assert select(a.on_recv(), default=True) == (-1, None, False)
    assert select(default=True) == (-1, None, False)
    a.send(1)
    assert select(a.on_recv(), default=True) == (0, 1, True)


def test_time_out() -> None:
    a = Chan(1)
    assert select(a.on_recv(), timeout=0) == (-1, None, False)
    assert select(a.on_recv(), timeout=-1) == (-1, None, False)
    assert gopark.run(lambda: select(a.on_recv(), None, timeout=0.001)) == (-1, None, False)
    assert gopark.run(lambda: select(timeout=0.001)) == (-1, None, False)
    a.send(1)
    assert select(a.on_recv(), timeout=0) == (0, 1, True)
    with pytest.raises(TypeError, match="select: timeout must be a number"):
        select(a.on_recv(), timeout="1")  # type: ignore[arg-type]


def test_closed_channel_is_ready() -> None:
    assert select(closed().on_recv()) == (0, None, False)
    with pytest.raises(ChanClosed, match="send on closed channel"):
        select(closed().on_send(1), Chan().on_recv())


def test_what_is_not_a_case_is_refused_before_anything_happens() -> None:
    ch = Chan(1)
    with pytest.raises(TypeError, match=r"select: case 1 must be ch\.on_recv"):
        select(ch.on_send(1), ch)  # type: ignore[arg-type]
    assert len(ch) == 0


def test_a_case_can_be_used_again() -> None:
    ch = Chan(2)
    case = ch.on_send("again")
    assert select(case, case)[2] and select(case)[2]
    assert [ch.recv(), ch.recv()] == ["again", "again"]
