"""What the runtime counts.  Reading it costs a few microseconds and disturbs nobody."""

from dataclasses import dataclass

from gopark.runtime import blocking, debug_server, netpoll, polldesc, proc


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of gopark.statistics().  Counters count from the start of the process."""

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
    debug_socket: str  # its path; "none" if there is none, and why, if it was asked for


def statistics() -> Statistics:
    """A snapshot of what the runtime counts; any thread may ask."""
    p = proc.getp()
    polls, events, stale, breaks = p.poller.counters()
    threads, idle, queued = blocking.counts()
    allocated, free = netpoll.pollcache.counts()
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
        debug_socket=debug_server.state(),
    )
