"""P, the processor: everything that scheduling needs to know, and the main loop that decides who runs next.

One P, on the thread that first uses the runtime.  What goroutines do to themselves and to one another (park, ready, start,
end) is proc.py; this file looks for work, waits for it in netpoll, takes what other threads hand over, and switches stacks.
"""

from collections import deque
from typing import Any

from gopark.runtime import _sys, g, polldesc, proc, tally
from gopark.runtime.g import AllGs, GList, Goroutine, Handed, Hook
from gopark.runtime.poller import Poller
from gopark.runtime.tally import Tally
from gopark.runtime.timers import TimerHeap

# C globals in the compiled core.
_RUNNABLE = g.GRUNNABLE
_RUNNING = g.GRUNNING
_WAITING = g.GWAITING
_DEAD = g.GDEAD

# P.state: how far its run has come.  What is said of a state is true of those after it as well.
STOPPED = 0  # it runs on no thread
RUNNING = 1
DRAINING = 2  # main has ended: the others are cancelled and waited for
URGENT = 3  # the program is to end: who only computes gets its Cancelled where it is preempted
ENDING = 4  # other threads' goroutines come too late
CLOSING = 5  # no goroutine is left; stacks that are resumed end

_STOPPED = STOPPED  # C globals, too
_UNDERWAY = RUNNING
_CLOSING = CLOSING

_NEVER = 0x7FFFFFFFFFFFFFFF
_FAIR = 61  # every so many ticks the global queue comes first
_POLL_TICKS = 256  # every so many the network is polled, even if the queues never empty (a batch is 128)
_POLL_NS = 100_000  # ... or when it was not polled for so long, by the coarse clock
_ATTEND_MAX = 128  # what is taken over from other threads between two goroutines
_TRACK_TICKS = tally.TRACK_TICKS
_HOLD_NS = tally.HOLD_NS
_RECHECK_NS = 1_000_000_000  # between two looks whether everybody is asleep for good


class P:
    """The processor: everything that scheduling needs.  State is here rather than in the module, for the day of one P
    a thread."""

    def __init__(self) -> None:
        self.thread = 0  # ident of the thread it runs on; 0: not started
        self.g0: Any = None  # the scheduler's own greenlet
        self.curg: Goroutine | None = None  # the goroutine that runs; None inside the scheduler
        self.maing: Goroutine | None = None  # the goroutine that called run, or used the runtime first
        self.runnext: Goroutine | None = None  # runs next: made ready by the one that runs now
        self.inherited = 0  # how many in a row came from runnext
        self.runq = GList()  # local queue
        self.globq = GList()  # global queue: gosched, and what other threads injected
        self.preempted = GList()  # had their time slice: behind everybody else, one at a time
        self.timers = TimerHeap()
        self.poller = Poller()  # the network poller: netpoll.poll_server_init makes it
        self.gfree: list[Any] = []  # stacks of finished goroutines
        self.handoff = False  # g0: start a stack for curg
        self.state = STOPPED
        self.forks = 0  # how many forks this process comes from
        self.watched = 0  # when rewatch was called last, coarse clock
        self.latecomers = 0  # goroutines that other threads have started since it left RUNNING
        self.graves: deque[Goroutine] = deque()  # ended; their outcomes are destroyed where one runs
        self.reaper: Goroutine | None = None  # the goroutine that does it
        self.injected: deque[Any] = (
            deque()
        )  # by other threads, signal handlers: goroutines, functions to call
        self.attention = False  # injected is not empty.  Set after the append, cleared before the pops
        self.polling = False  # the thread is in, or about to enter, a blocking netpoll
        self.allgs: AllGs | set[Goroutine] = AllGs() if _sys.IS_COMPILED else set()
        self.nextid = 1
        self.external = 0  # blocking calls in flight: each will inject
        self.coarse = 0  # the coarse clock at the last scheduling decision, ns
        self.coarseres = _sys.coarseres()
        self.lastpoll = 0  # coarse clock at the last netpoll
        self.polltick = 0  # schedtick at the last netpoll
        self.schedtick = 0  # scheduling decisions
        self.parks = 0
        self.switches = 0
        self.landed = 0  # switches, when a stack last ran again: equal while a goroutine runs.  Else the program has switched
        self.created = self.preemptions = 0
        self.ondrain: Any = None  # called with each goroutine that ends, while run waits for them
        self.hook: Hook | None = None  # hook/'s, while the process is patched
        self.outcome: Any = None  # of the goroutine that has just ended, until it is put there
        self.timers.wake = self.wake
        self.tally = Tally()
        self.since = 0  # coarse clock when the goroutine that runs, or ran last, was given the thread
        self.lastid = 0  # its id.  (Not itself: it may have ended, and nothing may keep it)
        self.tracked: Goroutine | None = None  # became runnable at trackedat (ns), and has not run since
        self.trackedat = self.tracktick = 0  # from decision tracktick on the next is chosen

    def __cinit__(self) -> None:
        # Compiled core: without __init__ it is a P that has nothing, and crashes nowhere.
        self.runq, self.globq, self.preempted = GList(), GList(), GList()
        self.timers = TimerHeap()
        self.poller = Poller()
        self.tally = Tally()
        self.gfree, self.allgs, self.injected = [], AllGs(), deque()

    # -- the main loop -------------------------------------------------------------------------------------------------

    def findrunnable(self) -> Goroutine | None:
        """THIS IS THE MAIN LOOP: the goroutine to run next.  Blocks in netpoll while there is none.

        Runs on the stack of whoever has parked or ended.  None: go to g0, Python's signal handlers are due."""
        while True:
            self.schedtick += 1
            _sys.sysmon_tick(self.schedtick)
            if self.attention:
                self.attend()
            self.coarse = _sys.coarsetime()
            if self.coarse - self.since >= _HOLD_NS:
                self.hold()
            # The coarse clock says "perhaps"; only then is the exact one asked.
            if self.timers.first <= self.coarse + self.coarseres and self.timers.first <= _sys.nanotime():
                self.runtimers(_sys.nanotime())
            gp = None
            if self.schedtick % _FAIR == 0:
                # By turns: goroutines that only call gosched keep the global queue from ever being empty here.
                if self.schedtick // _FAIR % 2 == 0:
                    gp = self.globq.pop()
                if gp is None:
                    gp = self.preempted.pop()
                if gp is None:
                    gp = self.globq.pop()
            if gp is None:
                gp = self.runnext
                if gp is not None:
                    self.runnext = None
                    # Two goroutines that keep readying each other share one turn of the queue: after so many hops the
                    # pair goes behind the others.
                    self.inherited += 1
                    if self.inherited >= _FAIR:
                        self.runq.push(gp)
                        gp = None
                if gp is None:
                    self.inherited = 0
                    gp = self.runq.pop()
                    if gp is None and self.globq.size:
                        self.runq.splice(self.globq)
                        gp = self.runq.pop()
                    if gp is None:
                        gp = self.preempted.pop()
            if gp is not None:
                if gp.status != _RUNNABLE:
                    self.not_runnable(gp)
                    continue
                # The network is looked at also while the queues never empty (Go leaves that to sysmon: 10 ms).
                if (
                    self.schedtick - self.polltick >= _POLL_TICKS or self.coarse - self.lastpoll >= _POLL_NS
                ) and polldesc.waiters() > 0:
                    self.pollnow()
                if gp is self.tracked:
                    self.tracked = None
                    self.tally.latency(_sys.nanotime() - self.trackedat)
                    self.tally.peaks(self.runqsize(), polldesc.waiters(), self.timers.armed())
                self.since = self.coarse
                self.lastid = gp.id
                return gp
            if not self.block():
                return None

    def not_runnable(self, gp: Goroutine) -> None:
        """What was on a run queue cannot run: it was abandoned there, or the runtime's rules are broken."""
        if gp.status != _DEAD:
            raise g.FatalError(f"runtime: findrunnable: {gp!r} is on a run queue")
        if gp is self.tracked:
            self.tracked = None

    def track(self, gp: Goroutine) -> None:  # atomic
        """*gp* becomes runnable, and it is time to measure how long one takes from there until it runs."""
        if self.tracked is None:
            self.trackedat = _sys.nanotime()
            self.tracked = gp
        self.tracktick = self.schedtick + _TRACK_TICKS

    def put(self, queue: GList, gp: Goroutine) -> None:  # atomic
        if self.schedtick >= self.tracktick:
            self.track(gp)
        queue.push(gp)

    def hold(self) -> None:
        """The goroutine that has just parked, yielded or ended had the thread for long, perhaps."""
        held = self.coarse - self.since
        self.since = self.coarse
        if held < _HOLD_NS + self.coarseres or len(self.allgs) < 2:
            return
        try:
            self.tally.hold(held, self.schedtick - 1, self.lastid)
        except BaseException as e:  # a signal handler raised in it
            self.uncaught(e)

    def pollnow(self) -> None:  # atomic
        """netpoll(0), and put what is ready on the run queue."""
        self.polltick = self.schedtick
        self.lastpoll = self.coarse
        self.tally.peaks(self.runqsize(), polldesc.waiters(), self.timers.armed())
        self.injectglist(self.poller.netpoll(0))  # safe: that only looks

    def injectglist(self, torun: GList) -> None:  # atomic
        """Put netpoll's list on the run queue; only then are the goroutines no longer waiters."""
        n = torun.size
        if n:
            if self.schedtick >= self.tracktick:
                self.track_one(torun)
            self.runq.splice(torun)
            polldesc.netpoll_adjust_waiters(-n)

    def track_one(self, torun: GList) -> None:  # atomic
        """track, for one of a list: not always the first, which waits least."""
        gp = torun.head
        for _ in range(self.schedtick % torun.size):
            gp = gp.link  # type: ignore[union-attr]
        self.track(gp)  # type: ignore[arg-type]

    def block(self) -> bool:
        """Nothing is runnable: wait in netpoll until the next timer.  False: the caller must go to g0 (signals)."""
        forks = self.forks
        if self.timers.first != _NEVER:
            self.timers.settle()
        first = self.timers.first
        delay = -1
        signals = False
        if first != _NEVER:
            now = _sys.nanotime()
            delay = first - now
            if delay <= 0:
                # Fired here, not by the caller's next look: on an idle machine the coarse clock may lag by ticks.
                self.runtimers(now)
                if self.runqsize() or now - self.lastpoll < _POLL_NS:
                    return True
                # One timer after the other is due, and none wakes anybody: the network, the signals and (this poll
                # releases the GIL) the other threads must have their turn all the same.
                first = self.timers.first
                delay = 1
                signals = True
            elif now - self.watched > _RECHECK_NS:
                self.rewatch(now)
        elif polldesc.waiters() == 0 and self.external == 0 and not self.attention:
            if self.checkdead():
                return True
            # Another thread, or a signal handler, could still wake someone.  It may also end without doing so.
            delay = _RECHECK_NS
            self.rewatch(self.coarse)
        elif self.coarse - self.watched > _RECHECK_NS:
            self.rewatch(self.coarse)
        # Published before the last look: another thread makes work and then looks at these, so one of the two sees the
        # other (both under the GIL).  In the interpreted core a finalizer or a signal handler may come after the look, too.
        self.polling = True
        self.timers.waituntil = first
        # All of the above may have run the program's code, which may have made somebody runnable or armed a timer.
        # atomic: begin
        if (
            not self.attention
            and not self.poller.signalled
            and self.runqsize() == 0
            and self.timers.first >= first
        ):
            _sys.sysmon_blocking()
            self.wait(delay)  # safe: nothing runs until the thread sleeps
        # atomic: end
        self.polling = False
        self.timers.waituntil = 0
        if self.forks != forks:
            g.rare().stray_child(None)
        if signals:
            self.poller.signalled = True
        return self.signals()

    def wait(self, delay: int) -> None:
        """The wait of block: netpoll(delay), which begins to wait without a call that could run the program's code."""
        forks = self.forks
        self.tally.peaks(self.runqsize(), polldesc.waiters(), self.timers.armed())
        try:
            self.injectglist(self.poller.netpoll(delay))
        except BaseException as e:
            if self.forks != forks:
                # Interpreted core: the handler ran inside the wait, which then has found the parent's epoll instance closed.
                g.rare().stray_child(None if isinstance(e, ValueError) else e)
            self.uncaught(e)
        _sys.sysmon_resumed()
        self.coarse = self.since = _sys.coarsetime()
        self.polltick = self.schedtick
        self.lastpoll = self.coarse

    def rewatch(self, now: int) -> None:
        """Once a second: is the wake-up descriptor for signals still ours?"""
        self.watched = now
        try:
            g.rare().watch_signals()
        except BaseException as e:  # a signal handler raised in it
            self.uncaught(e)

    def asleep(self) -> bool:  # atomic
        """Is there nobody who runs, or will run because of the network, a timer or a blocking call?"""
        return (
            self.runqsize() == 0
            and not self.attention
            and not self.poller.signalled
            and self.timers.first == _NEVER
            and self.external == 0
            and polldesc.waiters() == 0
        )

    def signals(self) -> bool:
        """If a signal has arrived, let its Python handler run; False: the caller must go to g0 for that."""
        if self.poller.signalled:
            if _sys.getcurrent() is not self.g0:
                return False
            self.checksignals()
        return True

    def checkdead(self) -> bool:
        """Is everybody asleep for good?  It has been reported then, and the main goroutine is runnable."""
        try:
            return proc.checkdead()
        except BaseException as e:  # a signal handler raised in it
            self.uncaught(e)
            return True

    def checksignals(self) -> None:
        """On g0: run the Python signal handlers that are due; what one raises goes to the main goroutine."""
        self.poller.signalled = False
        forks = self.forks
        try:
            _sys.check_signals()
        except BaseException as e:
            if self.forks != forks:
                g.rare().stray_child(e)
            self.uncaught(e)
        if self.forks != forks:
            g.rare().stray_child(None)

    def uncaught(self, exc: BaseException) -> None:
        """Something was raised where no goroutine runs: the main goroutine gets it."""
        if self.maing is None:
            raise exc
        proc.interrupt(self.maing, exc)

    def runtimers(self, now: int) -> None:
        """Fire the timers that are due.  What a callback raises must not end the park of whoever looks at them."""
        try:
            self.timers.run(now)
        except BaseException as e:
            self.uncaught(e)

    def gcpoll(self) -> None:
        """At the end of a collection: look at the network, unless that was done just now."""
        if self.curg is None or polldesc.waiters() == 0:
            return
        now = _sys.coarsetime()
        if now - self.lastpoll < _POLL_NS:
            return
        if not _sys.IS_COMPILED:
            # The interpreted core may have been interrupted between any two of its own bytecodes: at its next
            # scheduling decision then.
            self.inject(self.pollnow)
            return
        self.coarse = now
        self.pollnow()

    def abandon(self, gp: Goroutine) -> None:
        """Never run *gp* again: unlink it from what it is parked on.  (end() empties the run queues.)"""
        if gp.status == _WAITING and gp.parklock is not None:
            gp.parklock.parkcancel(gp, gp.parkmode)
        if gp.timer is not None:
            self.timers.stop(gp.timer)
        self.gone(gp)

    def gone(self, gp: Goroutine) -> None:
        """*gp* will never run (again): for whoever waits for its end, it was cancelled."""
        gp.exc = g.Cancelled()
        gp.collected = True
        gp.status = _DEAD
        self.allgs.discard(gp)
        self.tell_ended(gp)

    def late(self, gp: Goroutine) -> None:
        """*gp*, which another thread has started, came just too late for the run's end.  (In the interpreted core, whose
        threads change anywhere.)"""
        try:
            self.injected.remove(gp)
        except ValueError:
            return  # it has been seen
        self.gone(gp)

    def bury(self, gp: Goroutine) -> bool:
        """*gp* has ended, nobody refers to it any more, and its outcome is about to be destroyed: the program's finalizers,
        and excepthook, may want to park.  If no goroutine runs here, one is made to do it (True)."""
        if (
            self.curg is not None
            or not _UNDERWAY <= self.state < _CLOSING
            or _sys.thread_ident() != self.thread
        ):
            return False
        self.graves.append(gp)
        if self.reaper is None:
            reaper = Goroutine(g.rare().reap, (), None)
            reaper.ctx = _sys.copy_context()
            reaper.label = "finalizers"
            reaper.shield = 1  # it begins, also if the run has ended before its turn
            reaper.id = self.nextid
            self.nextid += 1
            self.allgs.add(reaper)
            self.reaper = reaper
            self.enqueue(reaper)
        return True

    def tell_ended(self, gp: Goroutine) -> None:
        """*gp* is dead: tell who joins it, goroutines and threads, and who has asked to be told (joining.watch)."""
        if gp.joinq is not None:
            gp.joinq.wake_all()
            gp.joinq = None
        watchers = gp.watchers
        gp.watchers = None
        while watchers:
            try:
                event = watchers.pop(0)
            except IndexError:
                break  # a thread that gives up has taken its event out of the list meanwhile
            for _ in range(2):  # again: a signal handler may have raised in its middle
                try:
                    event.set()
                    break
                except BaseException as e:
                    self.uncaught(e)

    def forked(self, me: Goroutine | None) -> None:
        """In a forked child: only *me* is alive, and is the main goroutine; None: the runtime is not started."""
        self.forks += 1
        self.runnext = None
        for queue in (self.runq, self.globq, self.preempted):
            queue.clear()
        self.timers.retain(outlives_goroutines)
        self.injected = deque(item for item in self.injected if isinstance(item, Handed))
        self.attention = len(self.injected) > 0
        self.polling = self.handoff = False
        self.outcome = None
        g.rare().keep(self.graves)
        self.graves = deque()
        self.reaper = None
        self.tracked = None
        self.external = 0
        self.ondrain = None
        self.allgs.clear()
        self.maing = self.curg = me
        if me is None:
            self.thread = 0
            self.state = _STOPPED
            self.g0 = None
            self.gfree = []
            self.nextid = 1
        else:
            self.state = _UNDERWAY
            self.allgs.add(me)

    def enqueue(self, gp: Goroutine) -> None:  # atomic
        """Put *gp* at the local queue's end.  Also while the P waits for events: the interpreted core runs finalizers and
        signal handlers there."""
        self.put(self.runq, gp)
        if self.polling:
            self.poller.netpollbreak()  # safe: a system call

    def wake(self) -> None:
        """End a wait for events, if there is one."""
        if self.polling:
            self.poller.netpollbreak()

    def runqsize(self) -> int:  # atomic
        """How many goroutines are runnable."""
        return self.runq.size + self.globq.size + self.preempted.size + (self.runnext is not None)

    # -- start and end -------------------------------------------------------------------------------------------------

    def begin(self, main: Goroutine, root: Any) -> None:
        """Start on this thread, with the caller (whose greenlet is *root*) as the main goroutine."""
        self.g0 = proc.new_g0(root)
        main.id = self.nextid
        self.nextid += 1
        main.stack = root
        main.status = _RUNNING
        main.ctx = None
        self.allgs.add(main)
        self.maing = self.curg = main
        self.coarse = self.lastpoll = self.since = _sys.coarsetime()
        self.lastid = main.id
        self.latecomers = 0
        self.state = _UNDERWAY
        self.thread = _sys.thread_ident()

    def advance(self, state: int) -> None:
        """The run's end has come as far as *state*; it never goes back."""
        if state > self.state:
            self.state = state

    def end(self) -> None:
        """End on this thread: the idle stacks and g0 return, the main goroutine is no more.  Nothing runs after it.

        Called again, because something was raised in it, it goes on."""
        me = self.maing
        self.state = _CLOSING
        if self.g0 is not None and (me is None or me.forked):
            # In a forked child g0's parent is a stack of the parent process.
            g.rare().keep((self.g0, self.gfree))
            self.gfree = []
        self.curg = None
        while self.gfree:
            _sys.switch(self.gfree.pop())
        self.reaper = None
        self.graves.clear()
        self.g0 = None
        self.maing = None
        self.runnext = None
        self.tracked = None
        # Goroutines that no cancellation could end were abandoned: they must not go on in the next run.
        for queue in (self.runq, self.globq, self.preempted):
            while queue.pop() is not None:
                pass
        # Nor must those begin there that other threads have started just now.  (Functions stay: see handover.late.)
        for _ in range(len(self.injected)):
            item = self.injected.popleft()
            if isinstance(item, Goroutine):
                self.gone(item)
            else:
                self.injected.append(item)
        self.timers.retain(outlives_goroutines)
        self.allgs.clear()
        self.nextid = 1
        if me is not None:
            me.status = _DEAD
            me.stack = None
        self.state = _STOPPED
        self.thread = 0  # last: from here on another thread may start it

    def preempt(self) -> None:
        """In the SIGURG handler: the running goroutine has had its time.

        The network is polled first, so that who became ready runs before the next one that only computes."""
        gp = self.curg
        if gp is None or gp.status != _RUNNING:  # in the middle of its park
            return
        self.preemptions += 1
        self.coarse = _sys.coarsetime()
        if polldesc.waiters() > 0:
            self.pollnow()
        # A cancelled goroutine gets its Cancelled where it parks, not here between any two bytecodes.
        proc.yield_to(self.preempted)

    # -- work from other threads ---------------------------------------------------------------------------------------

    def inject(self, item: Any) -> None:
        """From any thread or signal handler: make *item* (a goroutine) runnable, or call it (a function) on the P."""
        self.injected.append(item)
        self.attention = True
        if self.polling:
            self.poller.netpollbreak()

    def attend_now(self) -> None:
        """Take over what other threads have injected until now."""
        for _ in range(len(self.injected) // _ATTEND_MAX + 1):
            if self.attention:
                self.attend()

    def attend(self) -> None:
        # A round has an end even while threads go on injecting: the goroutines that are there have their turn in between.
        self.attention = False
        if self.hook is not None:
            self.hook.attended()
        n = 0
        while self.injected and n < _ATTEND_MAX:
            n += 1
            try:
                item = self.injected.popleft()
                if isinstance(item, Goroutine):
                    if item.status != _DEAD:  # it was abandoned meanwhile
                        self.put(self.globq, item)
                else:
                    item()
            except BaseException as e:
                self.uncaught(e)
        if self.injected:
            self.attention = True

    # -- switching -----------------------------------------------------------------------------------------------------

    def gogo(self) -> Any:
        """Where to switch to: curg's stack; g0 if there is no curg, or if it needs a new stack.

        The caller switches, so that this frame is not on every parked goroutine's stack."""
        gp = self.curg
        stack = self.g0
        if self.hook is not None:
            self.hook.switched(gp)
        if gp is not None:
            if gp.stack is None:
                gp.stack = self.idle_stack()
            if gp.stack is None:
                self.handoff = True
            else:
                stack = gp.stack
            gp = None
        self.switches += 1
        return stack

    def idle_stack(self) -> Any:
        """The stack of a finished goroutine; None: there is none, or no memory (the list may have to shrink)."""
        try:
            return self.gfree.pop() if self.gfree else None
        except MemoryError:
            return None


def outlives_goroutines(arg: Any) -> bool:
    """Does the timer with this argument go on after a run, and in a forked child?  Not one that would wake a goroutine that
    is no more, or start one (time.after_func).  Deadlines, channels' timers and contexts belong to objects that remain."""
    return not isinstance(arg, (Goroutine, tuple))
