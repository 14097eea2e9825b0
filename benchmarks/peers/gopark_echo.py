"""gopark: blocking reads and writes, one goroutine a connection."""

import os

import _serve

import gopark
from gopark import go, net
from gopark.runtime import sysmon


def handle(conn: net.Conn) -> None:
    with conn:
        try:
            while data := conn.read(_serve.READ_SIZE):
                conn.write(data)
        except ConnectionError:
            pass  # the client went away


def yielding() -> None:
    while True:
        gopark.gosched()


def main() -> None:
    options = _serve.start()
    if os.environ.get("BENCH_SYSMON") == "0":
        sysmon.stop()
    with net.listen("tcp", f"{_serve.HOST}:{options.port}") as listener:
        _serve.announce(listener.addr[1])
        for _ in range(options.yielding):
            go(yielding)
        for _ in range(options.spinning):
            go(_serve.spin)
        for conn in listener:
            go(handle, conn)


gopark.run(main)
