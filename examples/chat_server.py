"""A chat server: what one client says, all others read.  Talk to it with `nc 127.0.0.1 7788`, several times.

    python examples/chat_server.py

One goroutine, the hub, owns the list of clients; the others send it messages, so there is nothing to lock.  A
client that does not read is not waited for: when its queue is full it is thrown out.
"""

import argparse
from dataclasses import dataclass, field

import gopark
from gopark import Chan, go, net


@dataclass(eq=False)
class Client:
    conn: net.Conn
    name: str
    queue: Chan = field(default_factory=lambda: Chan(64))  # lines to write to it


class Hub:
    def __init__(self) -> None:
        self.joining, self.leaving, self.said = Chan(), Chan(), Chan()

    def run(self) -> None:
        clients: set[Client] = set()

        def tell(line: bytes, but: Client | None = None) -> None:
            for client in clients - {but}:
                # Dropping one tells the others, so it may have dropped more of them.
                if client in clients and not client.queue.try_send(line):
                    drop(client)

        def drop(client: Client) -> None:
            if client in clients:
                clients.discard(client)
                client.queue.close()  # its writer ends, and closes the connection
                tell(f"* {client.name} has left\n".encode())

        while True:
            case, value, _ = gopark.select(
                self.joining.on_recv(), self.leaving.on_recv(), self.said.on_recv()
            )
            if case == 0:
                tell(f"* {value.name} has come\n".encode())
                clients.add(value)
                value.queue.send(f"* welcome, {value.name}; {len(clients)} here\n".encode())
            elif case == 1:
                drop(value)
            else:
                client, line = value
                tell(f"{client.name}: ".encode() + line, but=client)


def write(client: Client) -> None:
    with client.conn:
        try:
            for line in client.queue:
                client.conn.set_write_deadline(gopark.time.now() + 10)
                client.conn.write(line)
        except OSError:
            pass  # closing the connection ends its reader, and that tells the hub


def read(client: Client, hub: Hub) -> None:
    rest = b""
    try:
        while data := client.conn.read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                hub.said.send((client, line.rstrip(b"\r") + b"\n"))
            if len(rest) > 4096:
                break
    except OSError:
        pass
    hub.leaving.send(client)  # not in a finally: when the whole server is cancelled, there is no hub to tell


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat server for nc or telnet.")
    parser.add_argument("--listen", default="127.0.0.1:7788", help="host:port (default: %(default)s)")
    options = parser.parse_args()

    hub = Hub()
    go(hub.run)
    with net.listen("tcp", options.listen) as listener:
        print("listening on", "{}:{}".format(*listener.addr[:2]), flush=True)
        for number, conn in enumerate(listener, 1):
            client = Client(conn, f"guest{number}")
            hub.joining.send(client)
            go(write, client)
            go(read, client, hub)


if __name__ == "__main__":
    try:
        gopark.run(main)
    except KeyboardInterrupt:
        pass
