"""The micro-benchmarks for greenlets without a scheduler: what gopark and gevent are built on."""

from itertools import repeat

from _micro import BATCH, CHUNK, Result, anonymous_bytes, cpu, main
from greenlet import getcurrent, greenlet


def nothing() -> None:
    pass


def go_join(seconds: float) -> Result:
    def chunk() -> None:
        for _ in range(BATCH):
            greenlet(nothing).switch()

    return cpu(chunk, BATCH, seconds)


def gosched(seconds: float) -> Result:
    def answer() -> None:
        switch = main_greenlet.switch
        while True:
            switch()

    def chunk() -> None:
        for _ in repeat(None, CHUNK // 2):  # there and back: two switches
            switch()

    main_greenlet = getcurrent()
    switch = greenlet(answer).switch
    return cpu(chunk, CHUNK, seconds)


def parked_memory(count: float) -> Result:
    def parked() -> None:
        main_greenlet.switch()

    n = int(count)
    main_greenlet = getcurrent()
    before = anonymous_bytes()
    parked_greenlets = [greenlet(parked) for _ in range(n)]
    for one in parked_greenlets:
        one.switch()
    return {"value": (anonymous_bytes() - before) / n}


main({case.__name__: case for case in (go_join, gosched, parked_memory)})
