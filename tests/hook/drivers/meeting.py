"""`meeting.py CLIENT JSON-ADDRESS NUMBER`: threads that wait, all at a time, until the server lets them go together."""

import json
import os
import sys
import threading
import traceback

from clients import CLIENTS

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
guests = [threading.Thread(target=guest) for _ in range(number)]
host = CLIENTS[name](address)
host.shut(place)
for thread in guests:
    thread.start()
here.wait(50)
host.open(place, number)
for thread in guests:
    thread.join()
print("\n".join(wrong))
print("met", number - len(wrong))
