"""print, logging and files that hundreds of goroutines use at once, preempted every millisecond: every line is whole."""

from hooked import patched

LOAD = """
    import logging, io, tempfile
    from gopark.runtime import sysmon
    sysmon.set_slice(1_000_000)
    N, LINES = 200, 20
    def whole(text):
        lines = text.split("\\n")
        assert lines.pop() == "" and len(lines) == N * LINES, len(lines)
        seen = sorted(tuple(map(int, line.split("-")[:2])) for line in lines)
        assert seen == [(i, k) for i in range(N) for k in range(LINES)]
        assert all(line.endswith("x" * 30) for line in lines)
    def all_of(write):
        def writes(i):
            for k in range(LINES):
                write(f"{i}-{k}-" + "x" * 30)
                if k % 5 == 0:
                    gopark.gosched()
        for g in [go(writes, i) for i in range(N)]:
            g.result()
"""


def test_logging_to_a_file() -> None:
    patched(
        LOAD
        + """
    with tempfile.TemporaryDirectory() as folder:
        log = logging.getLogger("load")
        handler = logging.FileHandler(folder + "/log")
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        all_of(log.info)
        handler.close()
        whole(open(folder + "/log").read())
    """
    )


def test_lines_written_to_a_buffered_file() -> None:
    patched(
        LOAD
        + """
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/out", "wb", buffering=100) as f:
            all_of(lambda line: f.write(line.encode() + b"\\n"))
        whole(open(folder + "/out").read())
    """
    )


def test_buffer_over_a_stream_that_parks_and_takes_little_at_a_time() -> None:
    # The others wait while the flush is half done.  (Not text: up to CPython 3.12.3 a TextIOWrapper whose
    # flush blocks loses what other threads write meanwhile.)
    patched(
        LOAD
        + """
    class Slow(io.RawIOBase):
        def writable(self):
            return True
        def write(self, data):
            gopark.gosched()
            parts.append(bytes(data[:700]))
            return len(parts[-1])
    parts = []
    out = io.BufferedWriter(Slow(), 5000)
    all_of(lambda line: out.write(line.encode() + b"\\n"))
    out.flush()
    whole(b"".join(parts).decode())
    """
    )
