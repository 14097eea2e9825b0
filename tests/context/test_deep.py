"""Trees far deeper than Python's stack: asking, linking and ending do not recurse."""

import threading

import pytest

import gopark
from gopark import context
from support import eventually, goroutines

DEPTH = 10_000


def chain(top: context.Context, depth: int = DEPTH) -> list[context.Context]:
    contexts = [top]
    for i in range(depth):
        contexts.append(context.with_value(contexts[-1], "depth", i))
    return contexts


def count_ends(contexts: list[context.Context]) -> list[int]:
    """How often each was told; each is linked."""
    told = [0] * len(contexts)

    def hook(i: int) -> None:
        told[i] += 1

    for i, ctx in enumerate(contexts):
        context.on_end(ctx, lambda i=i: hook(i))
    return told


def test_deep_context_answers() -> None:
    top = context.with_timeout(60)
    last = chain(top)[-1]
    assert last.err() is None and "active" in repr(last) and last.deadline() == top.deadline()
    top.cancel(ValueError("why"))
    assert last.err() == context.Canceled and "canceled" in repr(last)
    assert str(context.cause(last)) == "why"
    assert context.with_cancel(last).done.closed


@pytest.mark.parametrize("asked", ["each", "each, from below", "the last"])
@pytest.mark.parametrize("end", ["cancel", "cancel from another thread", "deadline"])
@goroutines
def test_every_channel_of_a_deep_tree_is_closed(asked: str, end: str) -> None:
    top = context.with_timeout(0.05 if end == "deadline" else 60)
    contexts = chain(top)
    if asked == "the last":
        some = contexts[-1:]
    elif asked == "each":
        some = contexts
    else:
        some = contexts[::-1]
    channels = [ctx.done for ctx in some]
    waiter = gopark.go(contexts[-1].done.recv_ok)
    gopark.gosched()
    if end == "cancel":
        top.cancel()
    elif end != "deadline":
        thread = threading.Thread(target=top.cancel)
        thread.start()
        gopark.blocking(thread.join)
    assert waiter.result(30) == (None, False)
    kind = context.DeadlineExceeded if end == "deadline" else context.Canceled
    assert contexts[-1].err() == kind and contexts[DEPTH // 2].err() == kind
    eventually(lambda: all(c.closed for c in channels))


@pytest.mark.parametrize("end", ["cancel", "two threads", "deadline"])
@goroutines
def test_each_in_a_deep_tree_is_told_once(end: str) -> None:
    top = context.with_timeout(0.05 if end == "deadline" else 60)
    contexts = chain(top)
    told = count_ends(contexts)
    waiter = gopark.go(contexts[-1].done.recv_ok)
    if end == "cancel":
        top.cancel()
    elif end == "two threads":
        threads = [threading.Thread(target=contexts[i].cancel) for i in (0, DEPTH // 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            gopark.blocking(thread.join)
    assert waiter.result(30) == (None, False)
    top.cancel()
    assert told == [1] * len(contexts)


@goroutines
def test_middle_of_a_deep_tree_ends_what_is_below_only() -> None:
    contexts = chain(context.with_cancel())
    told = count_ends(contexts)
    contexts[DEPTH // 2].cancel()
    assert told == [0] * (DEPTH // 2) + [1] * (len(contexts) - DEPTH // 2)
    assert contexts[DEPTH // 2 - 1].err() is None
