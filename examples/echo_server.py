"""An echo server: blocking calls, a goroutine for each connection.  Talk to it with `nc 127.0.0.1 7777`."""

import gopark
from gopark import go, net


def echo(conn: net.Conn) -> None:
    with conn:
        while data := conn.read():
            conn.write(data)


def main() -> None:
    for conn in net.listen("tcp", "127.0.0.1:7777"):
        go(echo, conn)


if __name__ == "__main__":
    gopark.run(main)
