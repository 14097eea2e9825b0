"""The drivers as the tests use them: a class for each, all with the same few methods.

connect and close; ask, which has the server answer with a text so many times; and meeting, which ends when as many have
come as it is told, each on a connection of its own: only who waits at the same time as the others ever leaves it.

This is run by the tests' programs, not imported by the tests: a driver's module is imported when its class is asked for."""

import io
import itertools
import os
import threading
import time
import urllib.parse
from typing import Any

numbers = itertools.count()


class Client:
    server = ""
    module = ""
    many = True  # cheap enough for many questions
    shared = False  # one connection for all threads: the library says that it may be shared

    def __init__(self, address: dict[str, Any]) -> None:
        self.address = address
        self.connect()

    def connect(self) -> None:
        raise NotImplementedError

    def ask(self, text: str, times: int) -> str:
        raise NotImplementedError

    def shut(self, name: str) -> None:
        """The host, before the guests come: nobody is let in, if the server needs to be told."""

    def open(self, name: str, number: int) -> None:
        """The host, when the server says that *number* wait at a time: they are let in."""

    def meeting(self, name: str, number: int) -> None:
        """A guest."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Database(Client):
    """DB-API.  The host of a meeting holds a lock of the database's; that says how many wait for it."""

    connection: Any
    lock = unlock = wait = leave = waiting = ""

    def query(self, sql: str, *args: Any) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(sql, args)
        row = cursor.fetchone()
        cursor.close()
        return row[0]

    def ask(self, text_: str, times: int) -> str:
        return text(self.query("select repeat(%s, %s)", text_, times))

    def meeting(self, name: str, number: int) -> None:
        self.query(self.wait, name)
        self.query(self.leave, name)

    def shut(self, name: str) -> None:
        self.query(self.lock, name)

    def open(self, name: str, number: int) -> None:
        end = time.monotonic() + 40
        while int(self.query(self.waiting)) < number:
            assert time.monotonic() < end, f"{self.query(self.waiting)} of {number} wait at a time"
            time.sleep(0.01)
        self.query(self.unlock, name)

    def close(self) -> None:
        self.connection.close()


class Postgres(Database):
    server = "postgres"
    lock = "select 1 from pg_advisory_lock(hashtext(%s))"
    unlock = "select pg_advisory_unlock(hashtext(%s))"
    wait = "select 1 from pg_advisory_lock_shared(hashtext(%s))"
    leave = "select pg_advisory_unlock_shared(hashtext(%s))"
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"


class psycopg2(Postgres):
    module = "psycopg2"

    def connect(self) -> None:
        import psycopg2

        self.connection = psycopg2.connect(**self.address)
        self.connection.autocommit = True


class psycopg2_shared(psycopg2):
    """One connection for all: the library has a mutex in C for that."""

    shared = True
    ready = threading.Lock()
    one: Any = None

    def connect(self) -> None:
        with self.ready:
            if self.one is None:
                super().connect()
                type(self).one = self.connection
        self.connection = self.one

    def close(self) -> None:
        pass


class psycopg(Postgres):
    module = "psycopg"
    implementation = "binary"

    def connect(self) -> None:
        import psycopg

        assert psycopg.pq.__impl__ == self.implementation, psycopg.pq.__impl__
        self.connection = psycopg.connect(**self.address, autocommit=True)


class psycopg_python(psycopg):
    implementation = "python"  # PSYCOPG_IMPL; libpq by way of ctypes


class MariaDB(Database):
    server = "mariadb"
    lock = wait = "select get_lock(%s, 40)"
    unlock = leave = "select release_lock(%s)"
    waiting = "select count(*) from information_schema.processlist where state = 'User lock'"


class mysqlclient(MariaDB):
    module = "MySQLdb"

    def connect(self) -> None:
        import MySQLdb

        self.connection = MySQLdb.connect(**self.address)


class pymysql(MariaDB):
    module = "pymysql"

    def connect(self) -> None:
        import pymysql

        self.connection = pymysql.connect(**self.address)


class sqlalchemy(Postgres):
    """A pool of 25 connections for all."""

    module = "sqlalchemy"
    engine: Any = None
    ready = threading.Lock()

    def connect(self) -> None:
        import sqlalchemy

        with self.ready:
            if self.engine is None:
                a = self.address
                url = f"postgresql+psycopg2://{a['user']}@{a['host']}:{a['port']}/{a['dbname']}"
                type(self).engine = sqlalchemy.create_engine(
                    url, pool_size=20, max_overflow=5, pool_timeout=50
                )

    def query(self, sql: str, *args: Any) -> Any:
        import sqlalchemy

        for i in range(len(args)):
            sql = sql.replace("%s", f":a{i}", 1)
        with self.engine.connect() as connection:
            return connection.execute(
                sqlalchemy.text(sql), {f"a{i}": value for i, value in enumerate(args)}
            ).scalar()

    def meeting(self, name: str, number: int) -> None:
        import sqlalchemy

        with self.engine.connect() as connection:
            for sql in (self.wait, self.leave):
                connection.execute(sqlalchemy.text(sql.replace("%s", ":a")), {"a": name})

    def shut(self, name: str) -> None:
        self.host = psycopg2(self.address)
        self.host.shut(name)

    def open(self, name: str, number: int) -> None:
        self.host.open(name, number)

    def close(self) -> None:
        pass


class redis(Client):
    """redis-py, which reads answers with hiredis if it is there."""

    server = "redis"
    module = "redis"

    def connect(self) -> None:
        import redis

        self.connection = redis.Redis(**self.address, socket_timeout=None)

    def ask(self, text_: str, times: int) -> str:
        key = f"k{os.getpid()}-{next(numbers)}"
        self.connection.set(key, text_ * times, px=60_000)
        return text(self.connection.getdel(key))

    def meeting(self, name: str, number: int) -> None:
        assert self.connection.blpop([name], timeout=40) is not None

    def open(self, name: str, number: int) -> None:
        end = time.monotonic() + 40
        while self.connection.info("clients")["blocked_clients"] < number:
            assert time.monotonic() < end, "not all wait at a time"
            time.sleep(0.01)
        self.connection.rpush(name, *range(number))

    def close(self) -> None:
        self.connection.close()


class kombu(redis):
    """A queue on redis: what Celery speaks to its broker with."""

    module = "kombu"

    def connect(self) -> None:
        import kombu

        super().connect()
        self.broker = kombu.Connection(f"redis://{self.address['host']}:{self.address['port']}/1")
        self.queue = self.broker.SimpleQueue(f"q{os.getpid()}-{next(numbers)}", no_ack=True)

    def ask(self, text_: str, times: int) -> str:
        self.queue.put(text_ * times)
        return str(self.queue.get(timeout=40).payload)

    def close(self) -> None:
        self.queue.close()
        self.broker.close()
        super().close()


class pymemcache(Client):
    server = "memcached"
    module = "pymemcache"

    def connect(self) -> None:
        from pymemcache.client.base import Client

        self.connection = Client((self.address["host"], self.address["port"]), no_delay=True)

    def ask(self, text_: str, times: int) -> str:
        key = f"k{os.getpid()}-{next(numbers)}"
        self.connection.set(key, text_ * times, noreply=False)
        return text(self.connection.get(key))

    def close(self) -> None:
        self.connection.close()


class Peer(Client):
    """A server of peers.py's, which is asked in text."""

    def question(self, text_: str) -> str:
        raise NotImplementedError

    def ask(self, text_: str, times: int) -> str:
        return self.question(f"{text_}:{times}")

    def meeting(self, name: str, number: int) -> None:
        assert int(self.question(f"meet:{name}:{number}")) == number


class Http(Peer):
    server = "http"

    def url(self, question: str) -> str:
        return f"http://{self.address['host']}:{self.address['port']}/{urllib.parse.quote(question)}"


class requests(Http):
    module = "requests"
    many = False

    def connect(self) -> None:
        import requests

        self.session = requests.Session()

    def question(self, text_: str) -> str:
        return str(self.session.get(self.url(text_), timeout=50).text)

    def close(self) -> None:
        self.session.close()


class httpx(Http):
    module = "httpx"
    many = False

    def connect(self) -> None:
        import httpx

        self.session = httpx.Client(timeout=50, trust_env=False)

    def question(self, text_: str) -> str:
        return str(self.session.get(self.url(text_)).text)

    def close(self) -> None:
        self.session.close()


class pycurl(Http):
    module = "pycurl"

    def connect(self) -> None:
        import pycurl

        self.curl = pycurl.Curl()

    def question(self, text_: str) -> str:
        out = io.BytesIO()
        self.curl.setopt(
            self.curl.URL, self.url(text_).replace("127.0.0.1", "localhost")
        )  # a thread looks it up
        self.curl.setopt(self.curl.IPRESOLVE, self.curl.IPRESOLVE_V4)
        self.curl.setopt(self.curl.WRITEDATA, out)
        self.curl.perform()
        return out.getvalue().decode()

    def close(self) -> None:
        self.curl.close()


class websockets(Peer):
    """websockets.sync: a thread of its own receives for each connection."""

    server = "websocket"
    module = "websockets"
    many = False

    def connect(self) -> None:
        from websockets.sync.client import connect

        url = f"ws://{self.address['host']}:{self.address['port']}"
        self.connection = connect(url, compression=None, proxy=None)

    def question(self, text_: str) -> str:
        self.connection.send(text_)
        return str(self.connection.recv())

    def close(self) -> None:
        self.connection.close()


class websocket_client(Peer):
    server = "websocket"
    module = "websocket"
    many = False

    def connect(self) -> None:
        import websocket

        self.connection = websocket.create_connection(f"ws://{self.address['host']}:{self.address['port']}")

    def question(self, text_: str) -> str:
        self.connection.send(text_)
        return str(self.connection.recv())

    def close(self) -> None:
        self.connection.close()


class pyzmq(Peer):
    """Its own thread does the network's part, and wakes who waits by writing to an eventfd."""

    server = "zmq"
    module = "zmq"

    def connect(self) -> None:
        import zmq

        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.linger = 0
        self.socket.connect(f"tcp://{self.address['host']}:{self.address['port']}")

    def question(self, text_: str) -> str:
        self.socket.send(text_.encode())
        return text(self.socket.recv())

    def close(self) -> None:
        self.socket.close()


class grpcio(Peer):
    """Its completion queues are waited for on threads of the pool."""

    server = "grpc"
    module = "grpc"
    many = False

    def connect(self) -> None:
        import grpc

        self.channel = grpc.insecure_channel(
            f"{self.address['host']}:{self.address['port']}", [("grpc.use_local_subchannel_pool", 1)]
        )
        self.call = self.channel.unary_unary("/Test/Ask")

    def question(self, text_: str) -> str:
        return text(self.call(text_.encode(), timeout=50))

    def close(self) -> None:
        self.channel.close()


class boto3(Client):
    server = "s3"
    module = "boto3"
    many = False
    ready = threading.Lock()  # sessions are made one at a time, says its documentation

    def connect(self) -> None:
        import boto3

        with self.ready:
            self.s3 = boto3.session.Session().client(
                "s3",
                endpoint_url=f"http://{self.address['host']}:{self.address['port']}",
                region_name="us-east-1",
                aws_access_key_id="x",
                aws_secret_access_key="x",
            )
        self.bucket = f"bucket-{os.getpid()}-{next(numbers)}"
        self.s3.create_bucket(Bucket=self.bucket)

    def ask(self, text_: str, times: int) -> str:
        key = f"k{os.getpid()}-{next(numbers)}"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=(text_ * times).encode())
        return text(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def close(self) -> None:
        self.s3.close()


class paramiko(Client):
    """A thread of its own reads each connection."""

    server = "sshd"
    module = "paramiko"
    many = False

    def connect(self) -> None:
        import paramiko

        self.ssh = paramiko.SSHClient()
        self.ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        self.ssh.connect(
            self.address["host"],
            self.address["port"],
            self.address["user"],
            key_filename=self.address["key"],
            allow_agent=False,
            look_for_keys=False,
            timeout=50,
            banner_timeout=50,
            auth_timeout=50,
        )

    def ask(self, text_: str, times: int) -> str:
        _, out, _ = self.ssh.exec_command(f"head -c {len(text_) * times} <(yes {text_} | tr -d '\\n')")
        return text(out.read())

    def meeting(self, name: str, number: int) -> None:
        file = f"{self.address['key']}.{name}"
        _, out, _ = self.ssh.exec_command(
            f"echo >>{file}; for i in $(seq 400); do [ $(wc -l <{file}) -ge {number} ] && break; sleep 0.1; done;"
            f" wc -l <{file}"
        )
        assert int(out.read()) == number

    def close(self) -> None:
        self.ssh.close()


ALL = (
    psycopg2,
    psycopg2_shared,
    psycopg,
    psycopg_python,
    mysqlclient,
    pymysql,
    sqlalchemy,
    redis,
    kombu,
    pymemcache,
    requests,
    httpx,
    pycurl,
    websockets,
    websocket_client,
    pyzmq,
    grpcio,
    boto3,
    paramiko,
)
CLIENTS: dict[str, type[Client]] = {c.__name__: c for c in ALL}
