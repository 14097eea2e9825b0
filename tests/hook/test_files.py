"""read, write, close and dup2 under patch(), on whatever a descriptor may be."""

from hooked import patched


def test_reads_of_what_can_be_polled_park() -> None:
    patched("""
        import pty, struct, tempfile, tty, ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        r, w = os.pipe()
        fifo = tempfile.mktemp()
        os.mkfifo(fifo)
        f = os.open(fifo, os.O_RDWR)
        master, slave = pty.openpty()
        tty.setraw(slave)
        event = libc.eventfd(0, 0)
        timer = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
        inotify = libc.inotify_init()
        folder = tempfile.mkdtemp()
        libc.inotify_add_watch(inotify, folder.encode(), 0x100)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        mask = ctypes.c_ulong(1 << (signal.SIGUSR1 - 1))
        signals = libc.signalfd(-1, ctypes.byref(mask), 0)
        def touch():
            open(os.path.join(folder, "x"), "w").close()
        def set_timer():
            libc.timerfd_settime(timer, 0, struct.pack("@qqqq", 0, 0, 0, 1000), None)
        cases = [
            (r, 1, lambda: os.write(w, b"x")),
            (f, 1, lambda: os.write(f, b"x")),
            (master, 1, lambda: os.write(slave, b"x")),
            (slave, 2, lambda: os.write(master, b"x\\n")),
            (event, 8, lambda: os.write(event, struct.pack("@Q", 1))),
            (timer, 8, set_timer),
            (inotify, 100, touch),
            (signals, 128, lambda: os.kill(os.getpid(), signal.SIGUSR1)),
        ]
        for _ in range(2):
            for fd, n, make_ready in cases:
                reader = go(os.read, fd, n)
                gopark.sleep(0.002)
                assert not reader.done, fd
                make_ready()
                assert reader.result(), fd
                assert os.get_blocking(fd)
            os.unlink(os.path.join(folder, "x"))
        os.unlink(fifo)
    """)


def test_blocking_write_returns_when_all_is_written() -> None:
    patched("""
        import pty, tempfile, tty
        data = os.urandom(300_000)
        fifo = tempfile.mktemp()
        os.mkfifo(fifo)
        f = os.open(fifo, os.O_RDWR)
        master, slave = pty.openpty()
        tty.setraw(slave)
        r, w = os.pipe()
        def whole(fd):
            got = bytearray()
            while len(got) < len(data):
                got += os.read(fd, 5000)
            return bytes(got)
        for src, dst in ((w, r), (f, f), (slave, master)):
            for write in (lambda: os.write(src, data), lambda: os.writev(src, [data[:100], data[100:]])):
                reader = go(whole, dst)
                assert write() == len(data), (src, dst)
                assert reader.result() == data
        os.unlink(fifo)
    """)


def test_writes_of_pipe_buf_are_atomic() -> None:
    patched("""
        r, w = os.pipe()
        writers = [go(lambda c: [os.write(w, c * 4096) for _ in range(30)], bytes([65 + i])) for i in range(4)]
        gopark.gosched()
        for _ in range(120):
            piece = os.read(r, 4096)
            while len(piece) < 4096:
                piece += os.read(r, 4096 - len(piece))
            assert len(set(piece)) == 1
        for w in writers:
            w.result()
    """)


def test_regular_files_never_park() -> None:
    patched("""
        import tempfile
        from gopark.hook import _hook
        with tempfile.TemporaryFile(buffering=0) as f:
            before = _hook.counters()
            data = os.urandom(5_000_000)
            assert f.write(data) == len(data)
            f.seek(0)
            assert f.read(len(data)) == data and f.read(1) == b""
            with open("/dev/null", "r+b", buffering=0) as null:
                assert null.read(1) == b"" and null.write(b"x" * 100000) == 100000
            assert len(open("/dev/zero", "rb", buffering=0).read(10000)) == 10000
            assert _hook.counters() == before
    """)


def test_close_ends_what_waits_for_the_descriptor() -> None:
    patched("""
        import errno
        def error(call):
            try:
                return call()
            except OSError as e:
                return e.errno
        for over in (False, True):
            for how in ("runtime", "thread"):
                a, b = socket.socketpair()
                readers = [go(error, lambda: os.read(b.fileno(), 1)) for _ in range(3)] + [go(error, lambda: b.recv(1))]
                gopark.gosched()
                null = os.open("/dev/null", os.O_RDWR)
                fd = b.fileno()
                act = (lambda: os.dup2(null, fd)) if over else (lambda: os.close(fd))
                if how == "thread":
                    gopark.blocking(act)
                else:
                    act()
                if not over:
                    # the number is given out again, and is not touched by those who waited for what it was
                    c, d = socket.socketpair()
                    c.send(b"mine")
                    d.send(b"mine")
                assert [r.result() for r in readers] == [errno.EBADF] * 4
                if not over:
                    assert c.recv(10) == d.recv(10) == b"mine"
                b.detach()
                os.close(null)
    """)


def test_shutdown_ends_a_recv() -> None:
    patched("""
        a, b = socket.socketpair()
        reader = go(b.recv, 1)
        gopark.gosched()
        b.shutdown(socket.SHUT_RD)
        assert reader.result() == b""
    """)


def test_number_closed_behind_our_back_is_looked_at_anew() -> None:
    patched("""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        syscall_close = 3 if os.uname().machine == "x86_64" else 57
        for _ in range(3):
            a, b = socket.socketpair()
            reader = go(b.recv, 1)
            gopark.gosched()
            a.send(b"1")
            assert reader.result() == b"1"
            fd = b.detach()
            assert libc.syscall(syscall_close, fd) == 0
            c, d = socket.socketpair()
            for x, y in ((c, d), (d, c)):
                reader = go(x.recv, 1)
                gopark.gosched()
                y.send(b"2")
                assert reader.result() == b"2"
    """)


def test_nonblocking_switched_by_another_process() -> None:
    patched("""
        import fcntl
        a, b = socket.socketpair()
        r, w = os.pipe()
        for fd, call, send in (
            (b.fileno(), lambda: b.recv(1), lambda: a.send(b"x")),
            (r, lambda: os.read(r, 1), lambda: os.write(w, b"x")),
        ):
            for _ in range(2):
                reader = go(call)
                gopark.gosched()
                send()
                assert reader.result() == b"x"
            pid = os.fork()
            if pid == 0:
                os.set_blocking(fd, False)
                os._exit(0)
            os.waitpid(pid, 0)
            try:
                call()
                assert False
            except BlockingIOError:
                pass
            send()
            assert call() == b"x"
    """)


def test_gopark_net_and_hooked_calls_share_a_descriptor() -> None:
    patched("""
        import select
        from gopark import net
        a, b = socket.socketpair()
        reader = go(b.recv, 1)
        gopark.gosched()
        conn = net.from_socket(b.dup())
        poller = select.poll()
        poller.register(conn.fileno(), select.POLLIN)
        other = go(poller.poll)       # the hooks wait for what gopark.net has registered
        mine = go(conn.read, 1)
        gopark.gosched()
        a.send(b"123")
        assert other.result() and mine.result() in (b"1", b"2")
        assert reader.result() in (b"1", b"2")
        # a descriptor that the hooks know is given to gopark.net
        a, b = socket.socketpair()
        waiting = go(b.recv, 1)
        gopark.gosched()
        conn = net.from_socket(b)
        a.send(b"4")
        assert waiting.result() == b"4"
        mine = go(conn.read, 1)
        gopark.gosched()
        a.send(b"5")
        assert mine.result() == b"5"
    """)


def test_closing_all_descriptors_leaves_the_runtime_its_own() -> None:
    patched("""
        a, b = socket.socketpair()
        reader = go(b.recv, 1)
        gopark.gosched()
        a.send(b"x")
        assert reader.result() == b"x"
        os.closerange(3, 10000)
        r, w = os.pipe()
        reader = go(os.read, r, 1)
        gopark.sleep(0.01)
        os.write(w, b"y")
        assert reader.result() == b"y"
        for fd in range(3, 1000):
            try:
                os.close(fd)
            except OSError:
                pass
        r, w = os.pipe()
        reader = go(os.read, r, 1)
        gopark.sleep(0.01)
        os.write(w, b"z")
        assert reader.result() == b"z"
        os._exit(0)
    """)


def test_sendfile_and_splice_park() -> None:
    patched("""
        import tempfile
        data = os.urandom(2_000_000)
        with tempfile.TemporaryFile() as f:
            f.write(data)
            f.flush()
            a, b = socket.socketpair()
            def whole(n):
                got = bytearray()
                while len(got) < n:
                    got += b.recv(1 << 16)
                return bytes(got)
            reader = go(whole, len(data) - 10)
            assert os.sendfile(a.fileno(), f.fileno(), 10, len(data)) == len(data) - 10
            assert reader.result() == data[10:]
            reader = go(whole, len(data))
            f.seek(0)
            assert a.sendfile(f) == len(data)
            assert reader.result() == data
        if hasattr(os, "splice"):
            r, w = os.pipe()
            moving = go(os.splice, b.fileno(), w, 100)
            gopark.gosched()
            a.send(b"hello")
            assert moving.result() == 5 and os.read(r, 10) == b"hello"
    """)


def test_forked_child_waits_for_its_own() -> None:
    patched("""
        a, b = socket.socketpair()
        c, d = socket.socketpair()
        reader = go(b.recv, 1)
        known = go(d.recv, 1)
        gopark.gosched()
        c.send(b"k")
        assert known.result() == b"k"
        pid = os.fork()
        if pid == 0:
            mine = go(d.recv, 1)
            gopark.gosched()
            c.send(b"c")
            os._exit(0 if mine.result() == b"c" else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert not reader.done
        a.send(b"p")
        assert reader.result() == b"p"
    """)


def test_no_descriptors_left() -> None:
    patched("""
        import resource, select
        a, b = socket.socketpair()
        c, d = socket.socketpair()
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        poller = select.poll()
        poller.register(b, select.POLLIN)
        poller.register(d, select.POLLIN)
        waits = [go(poller.poll), go(select.select, [b, d], [], []), go(a.recv, 1), go(c.recv, 1)]
        gopark.gosched()
        d.send(b"1")
        b.send(b"2")
        assert waits[2].result() == b"2" and waits[3].result() == b"1"
        a.send(b"x")
        assert waits[0].result() and waits[1].result()[0] == [b]
        for fd in held:
            os.close(fd)
    """)
