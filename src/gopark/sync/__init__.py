"""Locks and other meeting points for goroutines (Go's sync package): they park the goroutine, not its thread.

They work between OS threads, too: a thread on which gopark does not run blocks, alone, where a goroutine
would park, and every operation that does not wait may be called from any thread.  Locks are context managers.
Whatever waits takes a timeout in seconds and returns False when that is over.  A goroutine that is cancelled
while it waits gets Cancelled and is off the list; if it had been woken first, it returns normally with what
it was woken for, and Cancelled comes at its next park.

What Go's package has besides these, Python has already: a dict is Go's Map (each of its operations is
atomic), and functools.cache with a Once, or a plain module constant, is OnceValue.  A Pool is a list with
append and pop."""

from gopark.sync.cond import Cond, CondStatistics, Locker
from gopark.sync.mutex import Mutex, MutexStatistics
from gopark.sync.once import Once, OnceStatistics
from gopark.sync.rwmutex import RLocker, RWMutex, RWMutexStatistics
from gopark.sync.semaphore import Semaphore, SemaphoreStatistics
from gopark.sync.waitgroup import WaitGroup, WaitGroupStatistics

__all__ = [
    "Cond",
    "CondStatistics",
    "Locker",
    "Mutex",
    "MutexStatistics",
    "Once",
    "OnceStatistics",
    "RLocker",
    "RWMutex",
    "RWMutexStatistics",
    "Semaphore",
    "SemaphoreStatistics",
    "WaitGroup",
    "WaitGroupStatistics",
]
