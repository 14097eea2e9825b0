"""A worker pool: many URLs, a few workers, each asking one server at a time.

    python examples/worker_pool.py --workers 4 http://127.0.0.1:8000/ http://127.0.0.1:8000/missing

The channel is the queue; a worker takes the next URL when it is free.  Nobody divides the work beforehand.
"""

import argparse
from urllib.parse import urlsplit

import gopark
from gopark import Chan, go, net


def status(url: str, timeout: float) -> str:
    """The status line of the answer to GET *url* (http only)."""
    parts = urlsplit(url)
    with net.dial("tcp", f"{parts.hostname}:{parts.port or 80}", timeout=timeout) as conn:
        conn.set_timeout(timeout)
        conn.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n".encode())
        answer = b""
        while b"\r\n" not in answer:
            data = conn.read()
            if not data:
                raise EOFError("the connection ended before the status line")
            answer += data
        return answer.partition(b"\r\n")[0].decode("latin-1")


def worker(urls: Chan, results: Chan, timeout: float) -> None:
    for url in urls:
        try:
            results.send((url, status(url, timeout)))
        except (OSError, EOFError) as error:  # DeadlineExceeded is an OSError too
            results.send((url, f"failed: {error}"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for the status of each URL, a few at a time.")
    parser.add_argument("url", nargs="+")
    parser.add_argument("--workers", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=5, help="seconds for each step (default: %(default)s)"
    )
    options = parser.parse_args()

    urls, results = Chan(len(options.url)), Chan()
    for url in options.url:
        urls.send(url)
    urls.close()
    for _ in range(options.workers):
        go(worker, urls, results, options.timeout)
    for _ in options.url:
        url, text = results.recv()
        print(f"{url}: {text}", flush=True)


if __name__ == "__main__":
    gopark.run(main)
