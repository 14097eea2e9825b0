"""Sockets' calls under patch(): they park, and say and do what the blocking calls do."""

from hooked import patched


def test_echo_through_unmodified_sockets() -> None:
    patched("""
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        def serve(conn):
            with conn:
                while data := conn.recv(100):
                    conn.sendall(data)
        def accept():
            while True:
                go(serve, listener.accept()[0])
        go(accept)
        def talk(i):
            with socket.create_connection(listener.getsockname()) as s:
                for n in range(20):
                    text = b"%d %d" % (i, n)
                    s.sendall(text)
                    assert s.recv(100) == text
            return i
        talks = [go(talk, i) for i in range(100)]
        assert [t.result() for t in talks] == list(range(100))
    """)


def test_blocking_send_returns_when_all_is_sent() -> None:
    patched(
        """
        data = os.urandom(3_000_000)
        half = len(data) // 2
        def whole(b):
            got = bytearray()
            while len(got) < len(data):
                got += b.recv(1 << 16)
            return bytes(got)
        for send in (
            lambda a: a.send(data),
            lambda a: a.sendmsg([data[:half], b"", data[half:]]),
            lambda a: os.write(a.fileno(), data),
            lambda a: os.writev(a.fileno(), [data[:half], data[half:]]),
        ):
            for family in (socket.AF_UNIX, socket.AF_INET):
                a, b = socket.socketpair() if family == socket.AF_UNIX else inet_pair()
                reader = go(whole, b)
                assert send(a) == len(data)
                assert reader.result() == data
    """.replace("\n        data =", INET_PAIR + "\n        data =", 1)
    )


INET_PAIR = """
        def inet_pair():
            listener = socket.create_server(("127.0.0.1", 0))
            a = socket.create_connection(listener.getsockname())
            return a, listener.accept()[0]"""


def test_waitall_and_peek() -> None:
    patched("""
        for flags in (socket.MSG_WAITALL, socket.MSG_WAITALL | socket.MSG_PEEK):
            for recv in (
                lambda b: b.recv(10, flags),
                lambda b: b.recvfrom(10, flags)[0],
                lambda b: b.recvmsg(10, 0, flags)[0],
            ):
                a, b = socket.socketpair()
                reader = go(recv, b)
                for piece in (b"abc", b"def", b"ghij"):
                    gopark.sleep(0.005)
                    assert not reader.done
                    a.send(piece)
                assert reader.result() == b"abcdefghij"
                # what has come when the stream ends is returned
                b.recv(10) if flags & socket.MSG_PEEK else None
                reader = go(recv, b)
                gopark.gosched()
                a.send(b"xy")
                a.close()
                assert reader.result() == b"xy"
        a, b = socket.socketpair()
        peeker = go(b.recv, 10, socket.MSG_PEEK)
        gopark.gosched()
        a.send(b"12")
        assert peeker.result() == b"12" == b.recv(10)
        # a datagram ends a receive with MSG_WAITALL
        a, b = socket.socketpair(type=socket.SOCK_DGRAM)
        reader = go(b.recv, 10, socket.MSG_WAITALL)
        gopark.gosched()
        a.send(b"123")
        assert reader.result() == b"123"
    """)


def test_calls_that_never_wait_do_not() -> None:
    patched("""
        import errno
        a, b = socket.socketpair()
        for flags in (socket.MSG_DONTWAIT, socket.MSG_OOB):
            try:
                b.recv(1, flags)
            except OSError as e:
                assert e.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL), e
        b.setblocking(False)
        for call in (b.recv, lambda n: os.read(b.fileno(), n)):
            try:
                call(1)
                assert False
            except BlockingIOError:
                pass
        while True:
            try:
                a.send(b"x" * 100000, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
        assert a.getblocking() and not os.get_blocking(b.fileno())
    """)


def test_time_outs_of_the_socket_itself_are_honoured() -> None:
    patched("""
        import struct
        a, b = socket.socketpair()
        tv = struct.pack("@ll", 0, 30000)
        b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tv)
        for call in (lambda: b.recv(1), lambda: os.read(b.fileno(), 1), lambda: b.recv(2, socket.MSG_WAITALL)):
            began = time.monotonic()
            try:
                call()
                assert False
            except BlockingIOError:
                pass
            assert time.monotonic() - began >= 0.025
        a.send(b"1")
        assert b.recv(5, socket.MSG_WAITALL) == b"1"
        # set after the descriptor is known, through a duplicate
        a, b = socket.socketpair()
        reader = go(b.recv, 1)
        gopark.gosched()
        a.send(b"1")
        reader.join()
        b.dup().setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tv)
        try:
            b.recv(1)
            assert False
        except BlockingIOError:
            pass
        a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, tv)
        n = a.send(b"x" * 5_000_000)
        assert 0 < n < 5_000_000
        try:
            a.send(b"x")
            assert False
        except BlockingIOError:
            pass
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tv)
        try:
            listener.accept()
            assert False
        except BlockingIOError:
            pass
    """)


def test_low_water_mark_is_honoured() -> None:
    patched("""
        listener = socket.create_server(("127.0.0.1", 0))
        a = socket.create_connection(listener.getsockname())
        b = listener.accept()[0]
        b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 10)
        reader = go(b.recv, 100)
        gopark.gosched()
        a.send(b"12345")
        gopark.sleep(0.02)
        assert not reader.done
        a.send(b"67890")
        assert reader.result() == b"1234567890"
    """)


def test_messages_with_descriptors() -> None:
    patched("""
        a, b = socket.socketpair()
        r, w = os.pipe()
        reader = go(socket.recv_fds, b, 10, 2)
        gopark.gosched()
        socket.send_fds(a, [b"hello"], [r])
        data, fds, flags, addr = reader.result()
        assert data == b"hello" and len(fds) == 1
        os.write(w, b"through")
        assert os.read(fds[0], 10) == b"through"
    """)


def test_accept_and_connect_errors_are_the_kernels() -> None:
    patched("""
        import errno
        def error(call):
            try:
                call()
            except OSError as e:
                return e.errno
        udp = socket.socket(type=socket.SOCK_DGRAM)
        assert error(udp.accept) == errno.EOPNOTSUPP
        assert error(socket.socket().accept) == errno.EINVAL
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()
        free.close()
        s = socket.socket()
        assert error(lambda: s.connect(port)) == errno.ECONNREFUSED
        # and, as after a blocking connect, the socket can try again
        listener = socket.create_server(port)
        s.connect(port)
        assert error(lambda: s.connect(port)) == errno.EISCONN
        assert s.getpeername() == port
        udp.connect(port)
        assert error(lambda: listener.connect(port)) in (errno.EISCONN, errno.EINVAL)
        assert error(lambda: socket.socket(socket.AF_UNIX).connect("/nowhere/at/all")) == errno.ENOENT
    """)


def test_connect_to_a_full_backlog_parks_and_its_time_out_is_honoured() -> None:
    patched("""
        import struct, tempfile
        path = tempfile.mktemp()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(path)
        late = socket.socket(socket.AF_UNIX)
        late.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 30000))
        set_to = late.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
        try:
            late.connect(path)
            assert False
        except BlockingIOError:
            pass
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == set_to
        second = socket.socket(socket.AF_UNIX)
        connecting = go(second.connect, path)
        gopark.sleep(0.01)
        assert not connecting.done
        conn = listener.accept()[0]
        connecting.result()
        assert second.getblocking() and os.get_blocking(second.fileno())
        second.send(b"x")
        assert listener.accept()[0].recv(1) == b"x"
        os.unlink(path)
    """)


def test_connection_taken_by_another_process_does_not_block_the_thread() -> None:
    patched("""
        listener = socket.create_server(("127.0.0.1", 0))
        pids = []
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                while True:
                    listener.accept()[0].close()
            pids.append(pid)
        ticks = []
        def tick():
            while True:
                gopark.sleep(0.001)
                ticks.append(time.monotonic())
        go(tick)
        go(lambda: [listener.accept()[0].close() for _ in range(10**6)])
        for _ in range(300):
            s = socket.create_connection(listener.getsockname())
            assert s.recv(1) == b""
            s.close()
        gaps = [b - a for a, b in zip(ticks, ticks[1:])]
        assert max(gaps) < 2, max(gaps)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    """)


def test_several_goroutines_on_one_descriptor() -> None:
    patched("""
        a, b = socket.socketpair(type=socket.SOCK_DGRAM)
        readers = [go(b.recv, 10) for _ in range(50)]
        gopark.gosched()
        for r in readers[::3]:
            r.cancel()
        rest = [r for i, r in enumerate(readers) if i % 3]
        for i in range(len(rest)):
            a.send(b"%d" % i)
            if i % 4 == 0:
                gopark.sleep(0.001)
        assert sorted(int(r.result()) for r in rest) == list(range(len(rest)))
        # a writer beside a reader
        a, b = socket.socketpair()
        reader = go(a.recv, 1)
        writers = [go(a.sendall, b"x" * 400_000) for _ in range(4)]
        gopark.gosched()
        got = 0
        while got < 1_600_000:
            got += len(b.recv(1 << 16))
        for w in writers:
            w.result()
        assert not reader.done
        b.send(b"1")
        assert reader.result() == b"1"
    """)


def test_datagrams_to_a_full_receiver_that_is_not_connected() -> None:
    patched("""
        import tempfile
        path = tempfile.mktemp()
        to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        to.bind(path)
        a = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        def send():
            for i in range(200):
                a.sendto(b"%d" % i, path)
        sender = go(send)
        gopark.sleep(0.02)
        assert not sender.done
        began = time.process_time()
        gopark.sleep(0.1)
        assert time.process_time() - began < 0.08
        assert [int(to.recv(10)) for _ in range(200)] == list(range(200))
        sender.result()
        os.unlink(path)
    """)
