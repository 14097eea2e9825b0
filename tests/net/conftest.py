"""Each test here is the main goroutine of a run of its own, and leaves nothing behind."""

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark import net

PATIENCE = 20.0  # s: how long a test waits for what must happen


def eventually(condition: Callable[[], Any], what: str = "") -> None:
    """Let the others run until *condition* holds; fails after a while."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what or condition}"
        gopark.sleep(0.0005)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("no_run"):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    kwargs = {name: pyfuncitem.funcargs[name] for name in names}

    def main() -> None:
        pyfuncitem.obj(**kwargs)
        if "tcp_pair" in kwargs:
            kwargs["tcp_pair"].close()
        eventually(lambda: gopark.num_goroutine() == 1, "all goroutines of the test have ended")
        assert gopark.statistics().netpoll_waiters == 0
        assert gopark.statistics().timers == 0

    gopark.run(main)
    return True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_run: the test does without a goroutine")


@pytest.fixture(autouse=True)
def nothing_unclosed() -> Iterator[None]:
    """An unclosed connection is a failure (its warning becomes an error that pytest reports)."""
    yield
    gc.collect()


class Pairs:
    """Makes connected pairs, and closes them all."""

    def __init__(self) -> None:
        self.made: list[net.Conn] = []

    def __call__(self, network: str = "tcp", address: str = "127.0.0.1:0") -> tuple[net.Conn, net.Conn]:
        """(dialed, accepted)"""
        with net.listen(network, address) as listener:
            addr: Any = listener.addr
            if isinstance(addr, tuple):
                target = f"[{addr[0]}]:{addr[1]}" if ":" in addr[0] else f"{addr[0]}:{addr[1]}"
            else:
                target = address
            client = net.dial(network, target)
            server = listener.accept()
        self.made += [client, server]
        return client, server

    def close(self) -> None:
        for conn in self.made:
            conn.close()


@pytest.fixture
def tcp_pair() -> Pairs:
    """tcp_pair() -> (dialed, accepted); closed after the test."""
    return Pairs()


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually


@pytest.fixture
def blocked() -> Callable[..., gopark.Goroutine]:
    """blocked(fn, *args, on="IO wait"): a goroutine that has been started and is parked there."""

    def start(fn: Callable[..., Any], *args: Any, on: str = "IO wait") -> gopark.Goroutine:
        g = gopark.go(fn, *args)
        eventually(lambda: g.done or repr(g).endswith(f"[{on}]>"), f"{fn} parks in {on}")
        if g.done:
            g.result()
        assert not g.done, f"{fn} did not block"
        return g

    return start
