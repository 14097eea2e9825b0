"""Contexts that several threads use at the same time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import context, time
from support import goroutines


@goroutines
def test_timer_of_a_context_that_ended_before_it_was_armed_stays_unarmed(monkeypatch) -> None:
    on_runtime = time.on_runtime
    ctx = context.with_timeout(3600)

    def too_late(arm: Callable[[], Any]) -> Any:
        ctx.cancel()  # another thread: between the timer's making and its arming
        return on_runtime(arm)

    monkeypatch.setattr(time, "on_runtime", too_late)
    before = gopark.statistics().timers
    done = gopark.blocking(lambda: ctx.done)
    assert done.closed and ctx.err() == context.Canceled
    gopark.gosched()
    assert gopark.statistics().timers == before


@pytest.mark.parametrize("hooked", [False, True])
@goroutines
def test_what_is_linked_while_an_ancestor_ends_is_told_once(hooked: bool) -> None:
    """Threads link the same new contexts, from below, while another one cancels the top."""
    for _ in range(50):
        top = context.with_cancel()
        contexts = [top]
        for i in range(30):
            contexts.append(context.with_value(contexts[-1], "i", i))
        told: list[int] = []
        channels: list[gopark.Chan] = []
        barrier = threading.Barrier(3)

        def link(contexts: list[context.Context], told=told, channels=channels, barrier=barrier) -> None:
            barrier.wait()
            for i, ctx in enumerate(contexts):
                if hooked:
                    context.on_end(ctx, lambda i=i: told.append(i))
                channels.append(ctx.done)

        def cancel(barrier=barrier, top=top) -> None:
            barrier.wait()
            top.cancel()

        threads = [threading.Thread(target=link, args=(contexts[::-1],)) for _ in range(2)]
        threads.append(threading.Thread(target=cancel))
        for thread in threads:
            thread.start()
        for thread in threads:
            gopark.blocking(thread.join)
        assert len(channels) == 2 * len(contexts) == 2 * len(set(channels))
        assert [c for c in channels if not c.closed] == []
        if hooked:
            assert sorted(told) == sorted(2 * list(range(len(contexts))))
        assert len(top._listeners) == len(top._pins) == 0
