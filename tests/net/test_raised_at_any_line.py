"""A signal handler may raise at any line of a call (Ctrl-C, alarms): no descriptor stays open, none is closed twice."""

import pytest

from support import python

# Each call is made again and again, and raised in at its first line, its second ..., until it comes through.  A descriptor
# that was closed twice takes the guard's with it: that has the lowest free number, which the call's would have had.
SWEEP = """
    import gc, io, os, socket, sys, tempfile, warnings
    import gopark
    from gopark import net
    from gopark.runtime import proc

    warnings.simplefilter("ignore", ResourceWarning)  # closed for want of an owner: that is what is asked for

    class Alarm(Exception):
        pass

    class Raiser:
        # Raises at line number *left* of the files that are looked at.
        def __init__(self, left):
            self.left = left
            self.goroutine = gopark.current()
        def call(self, frame, event, arg):
            here = proc.getp().curg is self.goroutine
            return self.line if here and any(f in frame.f_code.co_filename for f in FILES) else None
        def line(self, frame, event, arg):
            if event == "line":
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    raise Alarm(frame.f_code.co_filename, frame.f_lineno)
            return self.line

    FILES = ("gopark/net/dial.py", "gopark/net/listener.py", "gopark/net/sockets.py", "gopark/net/options.py",
             "gopark/net/resolver.py", "gopark/net/addr.py", "gopark/net/conn.py",
             "gopark/poll/sockaddr.py", "gopark/net/bound_path.py")

    def descriptors():
        return {fd: os.fstat(fd)[:2] for fd in range(128) if is_open(fd)}

    def is_open(fd):
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    def sweep(what, call, done):
        gc.collect()
        before = descriptors()
        for n in range(1, 2000):
            made = None
            raiser = Raiser(n)
            sys.settrace(raiser.call)
            try:
                made = call()
            except Alarm:
                pass
            finally:
                sys.settrace(None)
            if made is not None:
                done(made)
            else:
                gopark.gosched()
                gc.collect()
                # Its own would have closed this one, had it been closed a second time.
                guard = os.open("/dev/null", os.O_RDONLY)
                made = None
                gc.collect()
                assert is_open(guard), (what, n)
                os.close(guard)
            end = gopark.time.now() + 10
            while (now := descriptors()) != before:
                assert gopark.time.now() < end, (what, n, set(now) ^ set(before))
                gopark.sleep(0.001)
            if raiser.left > 0:
                return n
        raise AssertionError("it never came through")

    def main():
        listener = net.listen("tcp", "127.0.0.1:0")
        unix = net.listen("unix", "@gopark-any-line-%d" % os.getpid())
        port = listener.addr[1]
        net.lookup_host("localhost")
        close = lambda conn: conn.close()
        def dialed(conn):
            conn.close()
            drain()
        def drain():
            for l in (listener, unix):
                l.set_deadline(-1)
                try:
                    while True:
                        l.set_deadline(gopark.time.now() + 0.001)
                        l.accept().close()
                except net.DeadlineExceeded:
                    pass
                l.set_deadline(None)
        BODY

    gopark.run(main)
"""
CALLS = {
    "dial": """
        lines = sweep("dial", lambda: net.dial("tcp", f"127.0.0.1:{port}"), dialed)
        assert lines > 40, lines""",
    "dial with everything": """
        dialer = net.Dialer(timeout=20, local_addr="127.0.0.1:0")
        sweep("dial", lambda: dialer.dial("tcp", f"localhost:{port}"), dialed)""",
    "dial with a context": """
        ctx = gopark.context.background()
        sweep("dial", lambda: net.Dialer().dial("tcp", f"127.0.0.1:{port}", ctx), dialed)
        assert gopark.num_goroutine() == 1""",
    "dial unix": """
        sweep("dial", lambda: net.dial("unix", unix.addr), dialed)""",
    "dial unix from a path": """
        mine = tempfile.mkdtemp() + "/mine"
        def dial():
            try:
                return net.Dialer(local_addr=mine).dial("unix", unix.addr)
            except OSError as e:
                raise AssertionError("its path was left behind") from e
        def gone(conn):
            dialed(conn)
            os.unlink(mine)
        sweep("dial", dial, gone)""",
    "dial refused": """
        port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
        def refused():
            try:
                net.dial("tcp", f"127.0.0.1:{port}")
            except ConnectionRefusedError:
                return True
        sweep("dial", refused, bool)""",
    "listen": """
        sweep("listen", lambda: net.listen("tcp", "127.0.0.1:0"), close)""",
    "listen unix": """
        path = tempfile.mkdtemp() + "/s"
        def anew():
            try:
                return net.listen("unix", path)
            except OSError as e:
                raise AssertionError("its path was left behind") from e
        def gone(listener):
            listener.close()
            assert not os.path.exists(path)
        sweep("listen", anew, gone)""",
    "accept": """
        def accept():
            client = socket.create_connection(listener.addr)
            try:
                return listener.accept()
            finally:
                client.close()
                drain()
        lines = sweep("accept", accept, close)
        assert lines > 3, lines""",
    "pipe": """
        sweep("pipe", net.pipe, lambda pair: (pair[0].close(), pair[1].close()))""",
    "from_socket": """
        def adopt():
            a, b = socket.socketpair()
            return net.from_socket(a)
        sweep("from_socket", adopt, close)""",
    "close": """
        def closes():
            pair = net.pipe()
            try:
                pair[0].close()
                pair[1].close()
            finally:
                pair[0].close()
                pair[1].close()
            return True
        sweep("close", closes, bool)""",
    "send_file": """
        file = tempfile.TemporaryFile()
        file.write(b"x" * 100000)
        def send():
            a, b = net.pipe()
            with a, b:
                return a.send_file(file) == 100000
        sweep("send_file", send, bool)""",
}


@pytest.mark.no_run
@pytest.mark.parametrize("call", CALLS)
def test_whatever_line_is_raised_in_nothing_is_left_open_or_closed_twice(call: str) -> None:
    python(SWEEP.replace("        BODY\n", CALLS[call].lstrip("\n") + "\n"), timeout=50)
