"""Go's channels as a model, and the same operations on gopark: what explorers of interleavings compare."""

from typing import Any

from gopark import Cancelled, Chan, ChanClosed, select

# An operation is a list of cases, ("recv", channel) or ("send", channel, value).  One: a plain operation.
Case = tuple[Any, ...]
CLOSED, CANCELLED, TIMED_OUT = "closed", "cancelled", (-1, None, False)


class Model:
    """Go's channels as the specification has them: who waits, in their order, and what each was told."""

    def __init__(self, caps: dict[str, int], buffered: dict[str, list[Any]]) -> None:
        self.caps = caps
        self.buf = {c: list(buffered.get(c, [])) for c in caps}
        self.closed: set[str] = set()
        self.waiting: list[tuple[int, list[Case]]] = []
        self.told: dict[int, Any] = {}  # what those who waited were told

    def partner(self, case: Case, me: int) -> tuple[int, int, Case] | None:
        wanted = "send" if case[0] == "recv" else "recv"
        for actor, cases in self.waiting:
            for i, other in enumerate(cases):
                if actor != me and other[:2] == (wanted, case[1]):
                    return actor, i, other
        return None

    def ready(self, case: Case, me: int = -1) -> bool:
        c = case[1]
        room = len(self.buf[c]) < self.caps[c] if case[0] == "send" else bool(self.buf[c])
        return room or c in self.closed or self.partner(case, me) is not None

    def tell(self, actor: int, outcome: Any) -> None:
        self.waiting = [w for w in self.waiting if w[0] != actor]
        self.told[actor] = outcome

    def perform(self, i: int, case: Case, me: int = -1) -> Any:
        """A ready case happens; what its actor is told."""
        c, partner = case[1], self.partner(case, me)
        if case[0] == "send":
            if c in self.closed:
                return CLOSED
            if partner:
                self.tell(partner[0], (partner[1], case[2], True))
            else:
                self.buf[c].append(case[2])
            return (i, None, True)
        if self.buf[c]:
            value = self.buf[c].pop(0)
            if partner:
                self.buf[c].append(partner[2][2])
        elif partner:
            value = partner[2][2]
        else:
            return (i, None, False)
        if partner:
            self.tell(partner[0], (partner[1], None, True))
        return (i, value, True)

    def close(self, c: str) -> Any:
        if c in self.closed:
            return CLOSED
        self.closed.add(c)
        for kind in ("recv", "send"):
            for actor, cases in list(self.waiting):
                for i, case in enumerate(cases):
                    if case[:2] == (kind, c) and actor not in self.told:
                        self.tell(actor, (i, None, False) if kind == "recv" else CLOSED)
        return None

    def give_up(self, actor: int, outcome: Any) -> None:
        if any(w[0] == actor for w in self.waiting):
            self.tell(actor, outcome)


class Real:
    """The same on gopark."""

    def __init__(self, caps: dict[str, int], buffered: dict[str, list[Any]]) -> None:
        self.chans = {c: Chan(cap) for c, cap in caps.items()}
        for c, values in buffered.items():
            for value in values:
                self.chans[c].send(value)
        self.told: dict[int, Any] = {}

    def operation(self, cases: list[Case]) -> Any:
        """What the actor is told, in the form of select's result."""
        try:
            if len(cases) == 1:
                ch = self.chans[cases[0][1]]
                if cases[0][0] == "send":
                    ch.send(cases[0][2])
                    return (0, None, True)
                return (0, *ch.recv_ok())
            prepared = [
                self.chans[case[1]].on_send(case[2]) if case[0] == "send" else self.chans[case[1]].on_recv()
                for case in cases
            ]
            return select(*prepared, timeout=3600)
        except ChanClosed:
            return CLOSED
        except Cancelled:
            return CANCELLED

    def check(self, model: Model) -> None:
        for c, ch in self.chans.items():
            stats = ch.statistics()
            waiting = [case[0] for _, cases in model.waiting for case in cases if case[1] == c]
            assert (stats.senders, stats.receivers) == (waiting.count("send"), waiting.count("recv"))
            assert (stats.len, stats.closed) == (len(model.buf[c]), c in model.closed)
        for c, ch in self.chans.items():
            if not model.waiting:
                assert [ch.recv() for _ in range(len(ch))] == model.buf[c]
