"""`load.py CLIENT JSON-ADDRESS THREADS QUESTIONS SEED [plain]`: threads that ask, each answer checked; some are cancelled,
some close their connection and connect anew.  What goes wrong is printed; the last line is the summary."""

import importlib
import json
import random
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import gopark
from gopark.runtime import sysmon

patched = sys.argv[-1] != "plain"  # without, it is what the hooks are measured by
if patched:
    gopark.patch()

from clients import CLIENTS, Client  # noqa: E402

name, address, threads, questions, seed = sys.argv[1], json.loads(sys.argv[2]), *map(int, sys.argv[3:6])
cls: type[Client] = CLIENTS[name]
wrong: list[str] = []
answers = [0]


def ask(client: Client, rng: random.Random) -> None:
    word = rng.randbytes(4).hex()
    times = rng.choice((1, 20, 2000) if cls.many else (1, 200))
    answer = client.ask(word, times)
    if answer != word * times:
        wrong.append(f"{word} {times} times: {len(answer)} characters, {answer[:40]!r}")
    answers[0] += 1


def worker(number: int) -> None:
    rng = random.Random(seed + number)
    try:
        client = cls(address)
        for i in range(questions):
            ask(client, rng)
            if rng.random() < 0.01 and not cls.shared:
                client.close()
                client = cls(address)
            if i % 20 == 0:
                sum(range(20000))  # is preempted
        client.close()
    except BaseException:
        wrong.append(traceback.format_exc())


def victim(number: int) -> None:
    """Asks until it is cancelled.  What a driver makes of that differs; nobody else may notice, and it must end."""
    rng = random.Random(seed + 1000 + number)
    try:
        client = cls(address)
        try:
            while True:
                ask(client, rng)
        finally:
            client.close()
    except gopark.Cancelled:
        raise
    except Exception:
        pass


def hunter(stop: threading.Event) -> None:
    rng = random.Random(seed - 1)
    number = 0
    while not stop.is_set():
        goroutine = gopark.go(victim, number)
        gopark.sleep(rng.random() * 0.03)
        goroutine.cancel()
        if not goroutine.join(30):
            wrong.append(f"victim {number} does not end: {gopark.stack(goroutine)}")
            return
        number += 1
    print("cancelled", number)


def start(fn: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=fn, args=args)
    thread.start()
    return thread


def main() -> None:
    importlib.import_module(cls.module)  # not by all of them at once
    if patched:
        sysmon.set_slice(1_000_000)
    stop = threading.Event()
    hunting = start(hunter, stop) if patched and not cls.shared else None
    for one in [start(worker, i) for i in range(threads)]:
        one.join()
    stop.set()
    if hunting is not None:
        hunting.join()
    for line in wrong:
        print(line)
    print("answers", answers[0] >= threads * questions, "wrong", len(wrong), "seed", seed)


main()
