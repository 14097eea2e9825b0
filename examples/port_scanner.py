"""A port scanner for this machine: which TCP ports does something listen on?

    python examples/port_scanner.py --ports 1-10000

It scans 127.0.0.1 and ::1 and takes no other address: scan what is yours.
"""

import argparse

import gopark
from gopark import Chan, go, net

HOSTS = {"127.0.0.1": "127.0.0.1", "::1": "[::1]"}


def probe(ports: Chan, found: Chan, host: str, timeout: float) -> None:
    """Try port after port; None says that there are no more."""
    for port in ports:
        try:
            net.dial("tcp", f"{HOSTS[host]}:{port}", timeout).close()
        except OSError:
            continue  # refused, or no answer in time
        found.send(port)
    found.send(None)


def produce(ports: Chan, first: int, last: int) -> None:
    for port in range(first, last + 1):
        ports.send(port)
    ports.close()


def port_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    numbers = int(first), int(last or first)
    if not 1 <= numbers[0] <= numbers[1] <= 65535:
        raise ValueError
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        description="List the open TCP ports of this machine's loopback address."
    )
    parser.add_argument("--host", choices=HOSTS, default="127.0.0.1", help="(default: %(default)s)")
    parser.add_argument("--ports", type=port_range, default=(1, 1024), help="FIRST-LAST (default: 1-1024)")
    parser.add_argument("--workers", type=int, default=100, help="dials at a time (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=1, help="seconds for each (default: %(default)s)")
    options = parser.parse_args()

    ports, found = Chan(), Chan()
    go(produce, ports, *options.ports)
    for _ in range(options.workers):
        go(probe, ports, found, options.host, options.timeout)
    working, listening = options.workers, []
    while working:
        port = found.recv()
        if port is None:
            working -= 1
        else:
            listening.append(port)
    for port in sorted(listening):
        print(port)


if __name__ == "__main__":
    gopark.run(main)
