"""Goroutine dumps say which lock somebody waits on, and in what state it is."""

import re
from collections.abc import Callable

import gopark
from gopark.sync import Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup
from support import goroutines, parked


def waits_for(call: Callable[..., object], *args: object) -> str:
    """What the dump says of a goroutine that is parked in call(*args)."""
    gp = parked(gopark.go(call, *args))
    (text,) = re.findall(rf"^goroutine {gp.id} \[.*\]:\n    waits for: (.*)$", gopark.stack(), re.M)
    gp.cancel()
    gp.join()
    return text


@goroutines
def test_mutex_says_its_state_and_its_address() -> None:
    mutex = Mutex()
    mutex.lock()
    assert waits_for(mutex.lock) == f"<gopark.sync.Mutex locked, 1 waiting> at {id(mutex):#x}"


@goroutines
def test_two_that_wait_on_different_locks_can_be_told_apart() -> None:
    first, second = Mutex(), Mutex()
    first.lock(), second.lock()
    assert waits_for(first.lock) != waits_for(second.lock)
    assert waits_for(first.lock) == waits_for(first.lock)


@goroutines
def test_both_sides_of_an_rwmutex() -> None:
    rw = RWMutex()
    rw.lock()
    at = f" at {id(rw):#x}"
    assert waits_for(rw.lock) == "<gopark.sync.RWMutex locked, 0 readers and 1 writers waiting>" + at
    assert (
        waits_for(rw.rlocker().lock) == "<gopark.sync.RWMutex locked, 1 readers and 0 writers waiting>" + at
    )


@goroutines
def test_semaphore_wait_group_and_once() -> None:
    sem, wg, once = Semaphore(3), WaitGroup(), Once()
    sem.acquire()
    wg.add(2)
    running = parked(gopark.go(once.do, lambda: gopark.sleep(60)))
    assert waits_for(sem.acquire, 3) == f"<gopark.sync.Semaphore 2 of 3 free, 1 waiting> at {id(sem):#x}"
    assert waits_for(wg.wait) == f"<gopark.sync.WaitGroup 2 to be done, 1 waiting> at {id(wg):#x}"
    assert waits_for(once.do, print) == f"<gopark.sync.Once running, 1 waiting> at {id(once):#x}"
    running.cancel()


@goroutines
def test_cond_says_what_mutex_it_is_of() -> None:
    cond = Cond(Mutex())

    def wait() -> None:
        with cond:
            cond.wait()

    of = "<gopark.sync.Mutex unlocked, 0 waiting>"
    assert waits_for(wait) == f"<gopark.sync.Cond of {of}, 1 waiting> at {id(cond):#x}"


@goroutines
def test_subclass_with_a_repr_of_its_own_says_that() -> None:
    class Database(Mutex):
        def __repr__(self) -> str:
            return "<the lock of the database>"

    lock = Database()
    lock.lock()
    assert waits_for(lock.lock) == f"<the lock of the database> at {id(lock):#x}"
