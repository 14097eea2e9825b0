"""A TCP proxy with timeouts: passes bytes both ways, and ends a connection that has been idle for a while.

    python examples/tcp_proxy.py --listen 127.0.0.1:8080 127.0.0.1:7777

When one side has no more to send, the other is told so (half-close) and may still answer.
"""

import argparse

import gopark
from gopark import Chan, go, net


def copy(
    source: net.Conn, target: net.Conn, both: tuple[net.Conn, net.Conn], idle: float, ended: Chan
) -> None:
    """Pass on what *source* sends, until its end; each message renews the time of both directions."""
    try:
        while data := source.read():
            target.write(data)
            for conn in both:
                conn.set_deadline(gopark.time.now() + idle)
        target.close_write()
        ended.send(None)
    except OSError as error:  # idle for too long, reset, closed because the other direction failed
        ended.send(error)


def serve(client: net.Conn, upstream: str, dialer: net.Dialer, idle: float) -> None:
    with client:
        try:
            server = dialer.dial("tcp", upstream)
        except OSError as error:
            print(error, flush=True)
            return
        with server:
            both = (client, server)
            for conn in both:
                conn.set_deadline(gopark.time.now() + idle)
            ended = Chan(2)  # room for both: nobody waits to say that it has ended
            go(copy, client, server, both, idle, ended)
            go(copy, server, client, both, idle, ended)
            for _ in both:
                error = ended.recv()
                if error is not None:
                    print(error, flush=True)
                    return  # closing both ends the other direction


def main() -> None:
    parser = argparse.ArgumentParser(description="Pass TCP connections on to another address.")
    parser.add_argument("upstream", help="host:port to pass them on to")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="host:port (default: %(default)s)")
    parser.add_argument(
        "--connect-timeout",
        type=float,
        default=5,
        help="seconds to reach the upstream (default: %(default)s)",
    )
    parser.add_argument(
        "--idle-timeout", type=float, default=60, help="seconds without a byte (default: %(default)s)"
    )
    options = parser.parse_args()

    dialer = net.Dialer(timeout=options.connect_timeout)
    with net.listen("tcp", options.listen) as listener:
        print("listening on", "{}:{}".format(*listener.addr[:2]), flush=True)
        for conn in listener:
            go(serve, conn, options.upstream, dialer, options.idle_timeout)


if __name__ == "__main__":
    try:
        gopark.run(main)
    except KeyboardInterrupt:
        pass
