"""poll, select and epoll under patch()."""

from hooked import patched


def test_poll_select_and_epoll_park() -> None:
    patched("""
        import select
        a, b = socket.socketpair()
        c, d = socket.socketpair()
        def poll(*fds, mask=select.POLLIN, timeout=None):
            p = select.poll()
            for fd in fds:
                p.register(fd, mask)
            return [fd for fd, _ in p.poll(timeout)]
        def epoll(*fds, timeout=None):
            with select.epoll() as p:
                for fd in fds:
                    p.register(fd, select.EPOLLIN)
                return [fd for fd, _ in p.poll(timeout)]
        def sel(*fds, timeout=None):
            return [s.fileno() for s in select.select(fds, [], fds, timeout)[0]]
        for wait in (poll, epoll, sel):
            for fds in ((b,), (b, d)):
                w = go(wait, *fds)
                gopark.gosched()
                assert not w.done
                a.send(b"x")
                assert w.result() == [b.fileno()], wait
                b.recv(1)
                began = time.monotonic()
                assert wait(*fds, timeout=20 if wait is poll else 0.02) == []
                assert 0.015 < time.monotonic() - began < 1
        # both directions of one, and what is only an error
        w = go(poll, b, mask=select.POLLIN | select.POLLPRI)
        gopark.gosched()
        a.send(b"x")
        assert w.result() == [b.fileno()]
        w = go(poll, d, mask=0)
        gopark.gosched()
        c.close()
        assert w.result() == [d.fileno()]
    """)


def test_time_outs() -> None:
    patched("""
        import select
        a, b = socket.socketpair()
        assert select.select([b], [], [], 0) == ([], [], [])
        began = time.monotonic()
        assert select.select([], [], [], 0.02) == ([], [], [])
        assert time.monotonic() - began >= 0.02
        b.settimeout(0.02)
        try:
            b.recv(1)
            assert False
        except TimeoutError:
            pass
    """)


def test_bad_descriptors_are_reported() -> None:
    patched("""
        import errno, select
        r, w = os.pipe()
        bad = os.dup(r)
        os.close(bad)
        p = select.poll()
        p.register(r, select.POLLIN)
        p.register(bad, select.POLLIN)
        assert p.poll(1000) == [(bad, select.POLLNVAL)]
        try:
            select.select([r, bad], [], [], 1)
            assert False
        except OSError as e:
            assert e.errno == errno.EBADF
        # closed while it is waited for
        p = select.poll()
        p.register(r, select.POLLIN)
        waiting = go(p.poll)
        gopark.gosched()
        os.close(r)
        assert waiting.result() == [(r, select.POLLNVAL)]
    """)


def test_epoll_instances_are_nested() -> None:
    patched("""
        import select
        a, b = socket.socketpair()
        inner = select.epoll()
        kept = [inner]
        inner.register(b, select.EPOLLIN)
        for _ in range(4):
            outer = select.epoll()
            outer.register(inner, select.EPOLLIN)
            inner = outer
            kept.append(inner)
            wait = go(inner.poll, 5)
            gopark.gosched()
            a.send(b"x")
            assert wait.result(), _
            b.recv(1)
        # each of several loops has its own
        loops = []
        for _ in range(20):
            ep = select.epoll()
            ep.register(b, select.EPOLLIN)
            loops.append(go(ep.poll))
        gopark.gosched()
        a.send(b"x")
        assert all(loop.result() for loop in loops)
    """)


def test_many_goroutines_park() -> None:
    patched("""
        import resource
        n = 10_000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard >= 2 * n + 100:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * n + 100, hard))
        else:
            n = hard // 2 - 100
        pairs = [socket.socketpair() for _ in range(n)]
        readers = [go(b.recv, 1) for a, b in pairs]
        gopark.gosched()
        for a, b in pairs:
            a.send(b"x")
        assert all(r.result() == b"x" for r in readers)
        r, w = os.pipe()
        readers = [go(os.read, r, 1) for _ in range(1000)]
        gopark.gosched()
        os.write(w, b"x" * 1000)
        assert all(r.result() == b"x" for r in readers)
    """)


WAITS = """
    import pty, select
    a, b = socket.socketpair()
    r, w = os.pipe()
    master, slave = pty.openpty()
    listener = socket.create_server(("127.0.0.1", 0))
    full, _other = socket.socketpair()
    try:
        while True:
            full.send(b"x" * 100000, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass
    fr, fw = os.pipe()
    os.set_blocking(fw, False)
    try:
        while True:
            os.write(fw, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(fw, True)
    ep = select.epoll()
    ep.register(b, select.EPOLLIN)
    p1 = select.poll()
    p1.register(b, select.POLLIN)
    p2 = select.poll()
    p2.register(b, select.POLLIN)
    p2.register(r, select.POLLIN)
    backlog = socket.socket(socket.AF_UNIX)
    backlog.bind(b"\\0gopark-test-%d" % os.getpid())
    backlog.listen(0)
    taken = socket.socket(socket.AF_UNIX)
    taken.connect(backlog.getsockname())
    waits = dict(
        recv=lambda: b.recv(1), recv_into=lambda: b.recv_into(bytearray(1)), recvmsg=lambda: b.recvmsg(1),
        waitall=lambda: b.recv(5, socket.MSG_WAITALL), send=lambda: full.send(b"x"), sendmsg=lambda: full.sendmsg([b"x"]),
        accept=listener.accept, read=lambda: os.read(r, 1), readv=lambda: os.readv(r, [bytearray(1)]),
        write=lambda: os.write(fw, b"x"), tty=lambda: os.read(slave, 1), epoll=ep.poll, poll=p1.poll, poll2=p2.poll,
        select=lambda: select.select([b, r], [], []), nothing=lambda: select.select([], [], []),
        connect=lambda: socket.socket(socket.AF_UNIX).connect(backlog.getsockname()),
    )
"""


def test_every_wait_can_be_cancelled() -> None:
    patched(f"""
        {WAITS.replace(chr(10), chr(10) + "    ").strip()}
        for name, wait in waits.items():
            seen = []
            def waits_for_ever():
                try:
                    wait()
                except gopark.Cancelled:
                    seen.append(1)
                    raise
            g = go(waits_for_ever)
            gopark.sleep(0.003)
            assert not g.done, name
            g.cancel()
            assert g.join(5) and seen, name
    """)


def test_every_wait_ends_with_ctrl_c() -> None:
    patched(f"""
        {WAITS.replace(chr(10), chr(10) + "    ").strip()}
        for name, wait in waits.items():
            def interrupt():
                gopark.sleep(0.003)
                os.kill(os.getpid(), signal.SIGINT)
            go(interrupt)
            try:
                wait()
                assert False, name
            except KeyboardInterrupt:
                pass
    """)


def test_every_wait_parks_on_a_deep_stack_and_near_the_recursion_limit() -> None:
    patched(f"""
        {WAITS.replace(chr(10), chr(10) + "    ").strip()}
        def deep(n, wait):
            if n:
                return deep(n - 1, wait)
            return wait()
        for depth in (500, 930):
            for name, wait in waits.items():
                g = go(deep, depth, wait)
                gopark.sleep(0.003)
                assert not g.done, (name, g.exception)
                g.cancel()
                assert g.join(5), name
    """)
