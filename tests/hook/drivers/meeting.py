"""`meeting.py CLIENT JSON-ADDRESS NUMBER`: threads that wait, all at a time, until the server lets them go together."""

import json
import os
import sys
import threading
import traceback

import gopark

gopark.patch()

from clients import CLIENTS  # noqa: E402

name, address, number = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
place = f"place{os.getpid()}"
wrong: list[str] = []


def guest() -> None:
    try:
        client = CLIENTS[name](address)
        here.wait(50)
        client.meeting(place, number)
        client.close()
    except BaseException:
        wrong.append(traceback.format_exc())


here = threading.Barrier(number + 1)
host = CLIENTS[name](address)
host.shut(place)
guests = [threading.Thread(target=guest) for _ in range(number)]
for one in guests:
    one.start()
here.wait(50)
host.open(place, number)
for one in guests:
    one.join()
print("\n".join(wrong))
print("met", number - len(wrong))
