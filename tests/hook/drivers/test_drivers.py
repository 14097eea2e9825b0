"""Drivers, unmodified, against real servers: every answer is right while goroutines are preempted, cancelled and reconnect;
and they wait for the server at the same time.

The seed is printed and can be given: GOPARK_DRIVERS_SEED; GOPARK_DRIVERS_QUESTIONS is how much is asked (50 goroutines ask
200 times each in `make test-drivers`)."""

import os
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

import gopark.hook

pytestmark = pytest.mark.skipif(
    gopark.hook.refusal() is not None, reason=f"cannot be patched here: {gopark.hook.refusal()}"
)

SEED = int(os.environ.get("GOPARK_DRIVERS_SEED", random.randrange(1 << 30)))
QUESTIONS = int(os.environ.get("GOPARK_DRIVERS_QUESTIONS", "10"))

# class of clients.py's: (server, modules that are needed, goroutines, one is asked an nth of the questions)
CLIENTS = {
    "psycopg2": ("postgres", ["psycopg2"], 50, 1),
    "psycopg2_shared": ("postgres", ["psycopg2"], 50, 1),
    "psycopg": ("postgres", ["psycopg_binary"], 50, 1),
    "psycopg_python": ("postgres", ["psycopg"], 50, 1),
    "sqlalchemy": ("postgres", ["sqlalchemy", "psycopg2"], 50, 1),
    "mysqlclient": ("mariadb", ["MySQLdb"], 50, 1),
    "pymysql": ("mariadb", ["pymysql"], 50, 1),
    "redis": ("redis", ["redis"], 50, 1),
    "kombu": ("redis", ["kombu", "redis"], 50, 2),
    "pymemcache": ("memcached", ["pymemcache"], 50, 1),
    "requests": ("http", ["requests"], 50, 1),
    "httpx": ("http", ["httpx"], 50, 2),
    "pycurl": ("http", ["pycurl"], 50, 1),
    "websockets": ("websocket", ["websockets"], 50, 1),
    "websocket_client": ("websocket", ["websocket", "websockets"], 50, 1),
    "pyzmq": ("zmq", ["zmq"], 50, 1),
    "grpcio": ("grpc", ["grpc"], 50, 1),
    "boto3": ("s3", ["boto3", "moto"], 10, 5),
    "paramiko": ("sshd", ["paramiko"], 5, 5),
}
# The server cannot be had to hold back an answer, or there is one connection for all.
NO_MEETING = ("psycopg2_shared", "kombu", "pymemcache", "boto3")


def needs(name: str) -> str:
    """The server's name; the test is skipped if there is no such driver."""
    for module in CLIENTS[name][1]:
        if module not in sys.modules and find_spec(module) is None:
            pytest.skip(f"{module} is not installed (pip install --group drivers)")
    return CLIENTS[name][0]


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.timeout(120)
def test_every_answer_is_right(name: str, client: Callable[..., str]) -> None:
    _, _, goroutines, rare = CLIENTS[name]
    print("seed", SEED)
    out = client("load.py", name, needs(name), goroutines, max(1, QUESTIONS // rare), SEED, timeout=110)
    assert out.splitlines()[-1] == f"answers True wrong 0 seed {SEED}", out


@pytest.mark.parametrize("name", [name for name in CLIENTS if name not in NO_MEETING])
def test_goroutines_wait_for_the_server_at_the_same_time(name: str, client: Callable[..., str]) -> None:
    guests = 5 if name == "paramiko" else 20
    out = client("meeting.py", name, needs(name), guests)
    assert out.splitlines()[-1] == f"met {guests}", out
