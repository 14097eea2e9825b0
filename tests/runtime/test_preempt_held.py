"""Who holds a lock that belongs to the OS thread is not preempted: for other goroutines of the thread it is no lock."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark import go
from gopark.runtime import sysmon
from support import IS_COMPILED, eventually, goroutines, parked


@pytest.fixture(autouse=True)
def short_slice() -> Iterator[None]:
    sysmon.set_slice(200_000)
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


turns = 0
# The interpreted core's sysmon needs the GIL, and gets it after 5 ms.
LONG, ROUNDS = (100_000, 3) if IS_COMPILED else (700_000, 1)


def others() -> None:
    global turns
    while True:
        turns += 1
        gopark.gosched()


def spin() -> int:
    """How often the others had a turn meanwhile."""
    before = turns
    for _ in range(LONG):
        pass
    return turns - before


module_lock = threading.RLock()
module_condition = threading.Condition()


class Owner:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.condition = threading.Condition(self.lock)

    def by_attribute(self) -> int:
        with self.lock:
            return spin()

    def by_condition(self) -> int:
        with self.condition:
            return spin()

    def by_try_and_finally(self) -> int:
        self.lock.acquire()
        try:
            return spin()
        finally:
            self.lock.release()

    def nested(self) -> int:
        with self.lock:
            return self.by_attribute() + spin() + self.by_try_and_finally() + spin()


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def spins(self) -> int:
        with self.lock:
            return spin()


def by_module_lock() -> int:
    with module_lock:
        return spin()


def by_module_condition() -> int:
    with module_condition as entered:
        assert entered
        return spin()


def by_parameter(lock: Any = module_lock) -> int:
    lock.acquire()
    try:
        return spin()
    finally:
        lock.release()


def by_closure() -> int:
    lock = threading.RLock()

    def inner() -> int:
        with lock:
            return spin()

    return inner()


def by_cell() -> int:
    lock = threading.RLock()

    def inner() -> object:
        return lock

    with lock:
        return spin() + (inner() is None)


def the_second_of_two() -> int:
    with memoryview(b"x"), module_lock:
        return spin()


def the_first_of_two() -> int:
    with module_lock, memoryview(b"x"):
        return spin()


def in_a_comprehension_below() -> int:
    with module_lock:
        return sum(spin() for _ in range(2))


def after_an_exception() -> int:
    with module_lock:
        try:
            raise ValueError
        except ValueError:
            return spin()


def in_a_generator() -> int:
    def rows() -> Iterator[int]:
        with module_lock:
            yield spin()

    return sum(rows())


def by_python_code() -> int:
    lock = threading._PyRLock()  # type: ignore[attr-defined]
    with lock:
        return spin()


def by_a_lock_of_a_lock() -> int:
    owner = Owner()
    holder = {"owner": owner}
    owner.next = Owner()  # type: ignore[attr-defined]
    found = holder["owner"]
    with found.next.condition:  # type: ignore[attr-defined]
        return spin()


HOLDERS: list[Callable[[], int]] = [
    Owner().by_attribute,
    Owner().by_condition,
    Owner().by_try_and_finally,
    Owner().nested,
    Slotted().spins,
    by_module_lock,
    by_module_condition,
    by_parameter,
    by_closure,
    by_cell,
    the_second_of_two,
    the_first_of_two,
    in_a_comprehension_below,
    after_an_exception,
    in_a_generator,
    by_python_code,
    by_a_lock_of_a_lock,
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda fn: fn.__qualname__)
@goroutines
def test_who_holds_a_reentrant_lock_is_not_preempted(holder: Callable[[], int]) -> None:
    go(others)
    for _ in range(ROUNDS):
        assert holder() == 0
    eventually(spin)  # and where it does not hold it, it is


@goroutines
def test_who_only_knows_a_lock_that_another_holds_is_preempted() -> None:
    def holds_and_parks() -> None:
        with module_lock, owner.condition:
            gopark.sleep(3600)

    def after_its_block(lock: Any) -> int:
        with lock:
            pass
        for _ in range(200):
            if n := spin():
                return n
        return 0

    owner = Owner()
    parked(go(holds_and_parks))
    go(others)
    assert after_its_block(module_lock)
    assert after_its_block(owner.condition)


@goroutines
def test_a_condition_shared_under_preemption_excludes() -> None:
    """What is read under it is still so when it is written."""
    condition = threading.Condition()
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(30):
            with condition:
                seen = count
                for _ in range(2000):
                    pass
                count = seen + 1
                condition.notify()

    for gp in [go(work) for _ in range(5)]:
        gp.result(30)
    assert count == 150


@goroutines
def test_who_waits_for_another_lock_while_it_holds_one_lets_others_run() -> None:
    """Else nobody could end its wait."""
    inner = threading.Lock()
    inner.acquire()
    go(lambda: gopark.sleep(0.005) or inner.release())
    with module_lock:
        assert inner.acquire(timeout=20)
    inner.release()
