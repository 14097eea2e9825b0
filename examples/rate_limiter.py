"""A rate limiter: a bucket of tokens, made of a buffered channel and a goroutine that refills it.

    python examples/echo_server.py &
    python examples/rate_limiter.py --rate 10 --burst 3 --count 20 127.0.0.1:7777

Sends lines to an echo server, never faster than the rate, except for a burst at the beginning.
"""

import argparse

import gopark
from gopark import Chan, go, net


class Bucket:
    """At most *burst* at once, and *rate* per second in the long run."""

    def __init__(self, rate: float, burst: int) -> None:
        self.tokens = Chan(burst)
        for _ in range(burst):
            self.tokens.send(None)
        go(self.refill, 1 / rate)

    def refill(self, interval: float) -> None:
        due = gopark.time.now()
        while True:
            due += interval  # from the time before, not from now: the rate does not drift
            gopark.sleep(due - gopark.time.now())
            self.tokens.try_send(None)  # a full bucket stays full

    def take(self) -> None:
        """Park until there is a token."""
        self.tokens.recv()


def main() -> None:
    parser = argparse.ArgumentParser(description="Send lines to an echo server at a limited rate.")
    parser.add_argument("address", help="host:port of an echo server")
    parser.add_argument("--rate", type=float, default=10, help="lines per second (default: %(default)s)")
    parser.add_argument("--burst", type=int, default=3, help="lines at once (default: %(default)s)")
    parser.add_argument("--count", type=int, default=20, help="lines in all (default: %(default)s)")
    options = parser.parse_args()

    bucket = Bucket(options.rate, options.burst)
    start = gopark.time.now()
    with net.dial("tcp", options.address, timeout=5) as conn:
        conn.set_timeout(5)
        for i in range(options.count):
            bucket.take()
            line = f"line {i}\n".encode()
            conn.write(line)
            if conn.read_exactly(len(line)) != line:
                raise SystemExit(f"line {i} came back changed")
            print(f"{gopark.time.now() - start:8.3f} s  line {i}", flush=True)


if __name__ == "__main__":
    gopark.run(main)
