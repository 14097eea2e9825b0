"""`driver_threads.py threads|gopark|gevent DRIVER JSON-ADDRESS THREADS QUERIES`: prints CPU us a query."""

import sys

mode, driver = sys.argv[1:3]
if mode == "gopark":
    import gopark

    gopark.patch()
elif mode == "gevent":
    from gevent import monkey

    monkey.patch_all()

import importlib  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import resource  # noqa: E402
import threading  # noqa: E402
from typing import Any  # noqa: E402

module: Any = importlib.import_module(driver)
address = json.loads(sys.argv[3])
threads, queries = map(int, sys.argv[4:])
wrong: list[str] = []
begin = threading.Barrier(threads + 1)
end = threading.Barrier(threads + 1)


def ask(cursor: Any, rng: random.Random) -> None:
    word, times = rng.randbytes(8).hex(), rng.choice((1, 60, 3750))
    cursor.execute("select repeat(%s, %s)", (word, times))
    answer = cursor.fetchone()[0]
    if (answer.decode() if isinstance(answer, bytes) else answer) != word * times:
        wrong.append(word)


def worker(number: int) -> None:
    rng = random.Random(number)
    connection = module.connect(**address)
    cursor = connection.cursor()
    for _ in range(5):
        ask(cursor, rng)
    begin.wait()
    for _ in range(queries):
        ask(cursor, rng)
    end.wait()
    connection.close()


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


crowd = [threading.Thread(target=worker, args=(i,)) for i in range(threads)]
for thread in crowd:
    thread.start()
begin.wait()
before = cpu()
end.wait()
spent = cpu() - before
for thread in crowd:
    thread.join()
if wrong:
    sys.exit(f"{len(wrong)} wrong answers")
print(spent / (threads * queries) * 1e6)
