"""Look-ups that hang (their server is silent) leave threads to every other blocking call."""

import socket
import threading

import pytest

import gopark
from gopark import go, net
from gopark.net import resolver
from gopark.runtime import blocking
from support import eventually, parked


def test_hung_lookups_leave_threads_to_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def silent(host: str, *args: object) -> list[object]:
        assert answer.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    many = blocking.MAX_THREADS + 5
    lookups = [parked(go(net.lookup_host, f"name{i}.test"), "blocking call") for i in range(many)]
    try:
        eventually(lambda: resolver.lookups.running == resolver.lookups.limit)
        assert resolver.lookups.size == many - resolver.lookups.limit
        assert gopark.statistics().threads <= resolver.lookups.limit < blocking.MAX_THREADS
        assert go(gopark.blocking, int, "7").result(10) == 7
        for g in lookups[-5:]:  # who gives up while it waits for its turn
            g.cancel()
    finally:
        answer.set()
    assert all(g.result(20) == ["192.0.2.1"] for g in lookups[:-5])
    assert all(g.join(20) and isinstance(g.exception, gopark.Cancelled) for g in lookups[-5:])
    assert resolver.lookups.running == resolver.lookups.size == 0
