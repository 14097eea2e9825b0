"""Every interleaving of small programs, on the real code, against a model of Go's channels.

Two explorers, both depth-first over all schedules:

- *actions*: goroutines wait in a send, receive or select; then the test itself performs steps that do not
  park (try_send, try_recv, close, cancel, a timer's firing) in every order, and after each either lets the
  goroutines run or does not.  What becomes of everybody must not depend on when they run.
- *steps*: goroutines with several blocking operations each; who takes the next step is chosen in every way.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from chan_model import CANCELLED, CLOSED, TIMED_OUT, Case, Model, Real
from gopark import ChanClosed, go
from gopark.runtime import proc
from gopark.runtime.select import seed as seed_choices
from gopark.runtime.sema import WaitQ
from support import settle


def end(actors: list[gopark.Goroutine]) -> None:
    for actor in actors:
        actor.cancel()
    for actor in actors:
        assert actor.join(timeout=10)


# -- actions -------------------------------------------------------------------------------------------------

ACTIONS: dict[str, tuple[dict[str, int], dict[str, list[Any]], list[list[Case]], list[Case]]] = {
    "two receivers": (
        {"c": 0},
        {},
        [[("recv", "c")], [("recv", "c")]],
        [("send", "c", 1), ("send", "c", 2), ("cancel", 0), ("cancel", 1), ("close", "c")],
    ),
    "competing selects": (
        {"c": 0, "d": 0},
        {},
        [[("recv", "c"), ("recv", "d")], [("recv", "d"), ("recv", "c")]],
        [("send", "c", 1), ("send", "d", 2), ("cancel", 0), ("timeout", 1), ("close", "d")],
    ),
    "a select between send and receive": (
        {"c": 0, "d": 0},
        {},
        [[("send", "c", 1)], [("send", "c", 2), ("recv", "d")]],
        [("recv", "c"), ("recv", "c"), ("send", "d", 3), ("timeout", 1), ("close", "c")],
    ),
    "a select with itself": (
        {"c": 0},
        {},
        [[("send", "c", 1), ("recv", "c"), ("send", "c", 2)]],
        [("recv", "c"), ("send", "c", 3), ("cancel", 0), ("timeout", 0), ("close", "c")],
    ),
    "a full buffer": (
        {"c": 1, "d": 0},
        {"c": ["old"]},
        [[("send", "c", 1)], [("send", "c", 2), ("send", "d", 3)], [("send", "c", 4)]],
        [("recv", "c"), ("recv", "c"), ("cancel", 0), ("recv", "d"), ("close", "c")],
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_every_order_of_actions_has_the_outcome_of_the_model(name: str) -> None:
    caps, buffered, actors, actions = ACTIONS[name]

    def one(order: tuple[Case, ...], runs: tuple[bool, ...]) -> None:
        real, model = Real(caps, buffered), Model(caps, buffered)
        gs: list[gopark.Goroutine] = []

        def actor(i: int) -> None:
            real.told[i] = real.operation(actors[i])

        for i, cases in enumerate(actors):
            gs.append(go(actor, i))
            settle()
            model.waiting.append((i, cases))
        for action, run in zip(order, runs, strict=True):
            kind, target = action[:2]
            if kind == "cancel":
                gs[target].cancel()
                model.give_up(target, CANCELLED)
            elif kind == "timeout":
                proc.park_timeout(gs[target], gs[target].parkseq)
                model.give_up(target, TIMED_OUT)
            elif kind == "close":
                real.chans[target].close()
                model.close(target)
            elif kind == "send":
                try:
                    done: Any = real.chans[target].try_send(action[2])
                except ChanClosed:
                    done = CLOSED
                expected = model.perform(0, action) if model.ready(action) else False
                assert done == (expected if expected in (CLOSED, False) else True)
            else:
                expected = model.perform(0, action)[1:] if model.ready(action) else (None, False)
                assert real.chans[target].try_recv() == expected
            if run:
                settle()
        settle()
        assert real.told == model.told
        real.check(model)
        end(gs)

    def main() -> None:
        for order in itertools.permutations(actions):
            for runs in itertools.product((False, True), repeat=len(actions) - 1):
                try:
                    one(order, (*runs, True))
                except AssertionError as e:
                    raise AssertionError(f"{name}: {order}, goroutines run after: {runs}") from e

    gopark.run(main)


# -- steps ---------------------------------------------------------------------------------------------------

STEPS: dict[str, tuple[dict[str, int], list[list[list[Case]]]]] = {
    "two senders, a receiver": (
        {"c": 0},
        [[[("send", "c", 1)], [("send", "c", 2)]], [[("send", "c", 3)]], [[("recv", "c")]] * 3],
    ),
    "buffer of one": (
        {"c": 1},
        [[[("send", "c", 1)], [("send", "c", 2)]], [[("send", "c", 3)]], [[("recv", "c")]] * 3],
    ),
    "selects against selects": (
        {"c": 0, "d": 1},
        [
            [[("send", "c", 1), ("recv", "d")], [("recv", "c"), ("send", "d", 2)]],
            [[("recv", "c"), ("send", "d", 3)], [("send", "c", 4), ("recv", "d")]],
            [[("recv", "c"), ("recv", "d"), ("recv", "c")], [("send", "d", 5)]],
        ],
    ),
    "close": (
        {"c": 0, "d": 0},
        [
            [[("recv", "c"), ("recv", "d")], [("recv", "d")]],
            [[("send", "c", 1)], [("close", "c")], [("close", "d")]],
            [[("send", "c", 2), ("recv", "d")]],
        ],
    ),
}


def schedules() -> Iterator[Callable[[int], int]]:
    """One choose(n) for each schedule: all sequences of choices, depth first."""
    path: list[list[int]] = []
    while True:
        position = itertools.count()

        def choose(n: int, position: Iterator[int] = position) -> int:
            i = next(position)
            if i == len(path):
                path.append([0, n])
            assert path[i][1] == n, "the program is not deterministic"
            return path[i][0]

        yield choose
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


@pytest.mark.parametrize("name", STEPS)
def test_every_schedule_of_steps_has_the_outcome_of_the_model(name: str) -> None:
    caps, programs = STEPS[name]

    def one(choose: Callable[[int], int]) -> list[int]:
        real, model = Real(caps, {}), Model(caps, {})
        gates = [WaitQ() for _ in programs]
        trace: list[int] = []

        def actor(i: int) -> None:
            for cases in programs[i]:
                gates[i].park("gate")
                if cases[0][0] == "close":
                    real.chans[cases[0][1]].close()
                    real.told[i] = None
                else:
                    real.told[i] = real.operation(cases)
                    if real.told[i] == CANCELLED:
                        return  # by end()

        gs = [go(actor, i) for i in range(len(programs))]
        taken = [0] * len(programs)
        settle()
        while True:
            # Those at their gates, and not blocked in a step.
            able = [i for i in range(len(programs)) if len(gates[i])]
            if not able:
                break
            i = able[choose(len(able))]
            trace.append(i)
            cases = programs[i][taken[i]]
            taken[i] += 1
            real.told.clear()
            model.told.clear()
            gates[i].wake_one()
            settle()
            if cases[0][0] == "close":
                model.told[i] = model.close(cases[0][1])
            elif ready := [k for k, case in enumerate(cases) if model.ready(case, i)]:
                outcome = real.told.get(i)
                # The choice among ready cases is random: follow it, if it is one of them.
                k = outcome[0] if isinstance(outcome, tuple) else ready[0]
                assert k in ready, (trace, ready, outcome)
                model.told[i] = model.perform(k, cases[k], i)
            else:
                model.waiting.append((i, cases))
            assert real.told == model.told, trace
            real_waiting = [c.statistics().senders + c.statistics().receivers for c in real.chans.values()]
            assert sum(real_waiting) == sum(len(cases) for _, cases in model.waiting), trace
        real.check(model)
        end(gs)
        return trace

    def main() -> None:
        for seed in range(3):
            seen = set()
            for choose in schedules():
                seed_choices(seed)
                seen.add(tuple(one(choose)))
            assert len(seen) > 10

    gopark.run(main)
