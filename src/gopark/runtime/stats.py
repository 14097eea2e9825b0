"""What the runtime counts, and how it is shown.  Reading it disturbs nobody; it takes microseconds, and some more for each
thousand goroutines.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from gopark.runtime import _sys, blocking, debug_files, netpoll, polldesc, proc, tally

_p = proc.getp()


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of gopark.statistics().  Counters, peaks and times count from the start of the process."""

    goroutines: int  # that exist: running, runnable or parked
    netpoll_waiters: int  # parked in the network poller (netpollWaiters)
    runqueue: int  # runnable, in all queues
    timers: int  # armed
    threads: int  # of the pool for blocking calls
    idle_threads: int  # of these, without work
    blocking_queue: int  # blocking calls that wait for a thread
    blocking_calls: int  # blocking calls that have not ended
    polls: int  # netpoll calls
    events: int  # events that netpoll delivered
    stale_events: int  # events dropped because their descriptor was closed
    breaks: int  # wake-ups of a blocked netpoll that were written
    parks: int
    switches: int  # from one stack to another
    scheds: int  # scheduling decisions
    created: int  # goroutines ever started
    timers_fired: int
    preemptions: int
    free_stacks: int  # kept for reuse
    polldescs: int  # allocated
    free_polldescs: int  # of these, on the free list
    states: dict[str, int]  # goroutines by state: running, runnable, waiting
    wait_reasons: dict[str, int]  # those that wait, by what for, as dumps say it
    latencies: dict[
        float, int
    ]  # s: how many ran within so long, and not within half of it, after they became runnable.
    # A sample, one in about 67 decisions
    peak_goroutines: int  # the most at a time
    peak_runqueue: int  # ... as seen at each netpoll and each latency that is measured; so are the next two
    peak_netpoll_waiters: int
    peak_timers: int
    holds: int  # how often one goroutine kept the thread for over 10 ms, while there were others
    held_seconds: float  # for how long in all
    longest_hold: float  # s
    longest_hold_stack: str  # where the goroutine was then: text as in a dump
    holding: float  # s: how long the goroutine that runs has had the thread now
    debug_socket: str  # its path; "none" if there is none, and why, if it was asked for


def statistics() -> Statistics:
    """A snapshot of what the runtime counts; any thread may ask."""
    p = _p
    polls, events, stale, breaks = p.poller.counters()
    threads, idle, queued = blocking.counts()
    allocated, free = netpoll.pollcache.counts()
    states, reasons = tally.census(p.allgs)
    noted = p.tally
    return Statistics(
        goroutines=len(p.allgs),
        netpoll_waiters=polldesc.waiters(),
        runqueue=p.runqsize(),
        timers=len(p.timers),
        threads=threads,
        idle_threads=idle,
        blocking_queue=queued,
        blocking_calls=p.external,
        polls=polls,
        events=events,
        stale_events=stale,
        breaks=breaks,
        parks=p.parks,
        switches=p.switches,
        scheds=p.schedtick,
        created=p.created,
        timers_fired=p.timers.fired,
        preemptions=p.preemptions,
        free_stacks=len(p.gfree),
        polldescs=allocated,
        free_polldescs=free,
        states=states,
        wait_reasons=reasons,
        latencies={2**i / 1e6: n for i, n in enumerate(noted.buckets) if n},
        peak_goroutines=noted.goroutines,
        peak_runqueue=noted.runqueue,
        peak_netpoll_waiters=noted.waiters,
        peak_timers=noted.timers,
        holds=noted.holds,
        held_seconds=noted.held / 1e9,
        longest_hold=noted.longest / 1e9,
        longest_hold_stack=noted.stack,
        holding=max(0.0, (_sys.coarsetime() - p.since) / 1e9) if p.curg is not None else 0.0,
        debug_socket=debug_files.where,
    )


def as_dict() -> dict[str, Any]:
    """statistics() for JSON."""
    seen = statistics()
    return {field.name: getattr(seen, field.name) for field in fields(seen)}


def parts() -> Iterator[str]:
    """The end of a dump: the numbers, and who kept the thread for longest."""
    seen = statistics()
    if not seen.goroutines:
        return
    yield "\nscheduler:\n"
    states = ", ".join(f"{n} {name}" for name, n in sorted(seen.states.items()))
    yield f"\tnow: {states}; at most {seen.peak_goroutines}\n"
    if seen.wait_reasons:
        yield f"\twaiting: {', '.join(f'{n} {why}' for why, n in sorted(seen.wait_reasons.items()))}\n"
    if seen.latencies:
        yield f"\tlatency: {latency(seen.latencies)}\n"
    if seen.holding * 1e9 >= tally.HOLD_NS:
        yield f"\tthe goroutine that runs has had the thread for {seen.holding:.3f} s\n"
    if seen.holds:
        yield (
            f"\theld for over 10 ms: {seen.holds} times, {seen.held_seconds:.3f} s in all; "
            f"longest {seen.longest_hold:.3f} s, by\n"
        )
        for line in seen.longest_hold_stack.splitlines():
            yield f"\t\t{line}\n"


def latency(latencies: dict[float, int]) -> str:
    """The histogram in a line: within what time a half, 99 % and all have run."""
    total = sum(latencies.values())
    said = []
    for share, what in ((0.5, "half"), (0.99, "99 %"), (1.0, "all")):
        count = 0
        for bound, n in sorted(latencies.items()):
            count += n
            if count >= share * total:
                said.append(f"{what} within {short(bound)}")
                break
    return ", ".join(said) + f" ({total} measured)"


def short(seconds: float) -> str:
    """16 us, 1.0 ms, 2.1 s."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
