"""Name look-ups are made on the pool; locks on files are waited for."""

from hooked import patched


def test_look_ups_in_every_form_have_the_same_answers() -> None:
    patched("""
        forms = (
            lambda: socket.getaddrinfo("localhost", "http", type=socket.SOCK_STREAM),
            lambda: socket.getaddrinfo("127.0.0.1", 80),
            lambda: socket.getaddrinfo(None, 80),
            lambda: socket.getaddrinfo("::1", 80, socket.AF_INET6),
            lambda: socket.gethostbyname("localhost"),
            lambda: socket.gethostbyname_ex("localhost"),
            lambda: socket.gethostbyname_ex("127.0.0.1"),
            lambda: socket.gethostbyaddr("127.0.0.1"),
            lambda: socket.getnameinfo(("127.0.0.1", 80), 0),
            lambda: socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST),
            lambda: socket.getaddrinfo("no-such-name.invalid", 80),
            lambda: socket.gethostbyname_ex("no-such-name.invalid"),
            lambda: socket.getnameinfo(("127.0.0.1", 80), socket.NI_NAMEREQD | 4096),
        )
        def answer(form):
            try:
                return form()
            except OSError as e:
                return type(e), e.args
        parked = [answer(form) for form in forms]
        together = [g.result() for g in [go(answer, form) for form in forms]]
        gopark.unpatch()
        assert parked == together == [answer(form) for form in forms]
    """)


def test_cancelled_look_up_ends_at_once_and_its_result_is_freed() -> None:
    patched("""
        for _ in range(200):
            g = go(socket.getaddrinfo, "localhost", 80)
            gopark.gosched()
            g.cancel()
            assert g.join(10)
        assert socket.getaddrinfo("localhost", 80)
    """)


def test_locks_on_files_are_waited_for() -> None:
    patched("""
        import fcntl, tempfile
        path = tempfile.NamedTemporaryFile()
        for take, give in (
            (lambda f: fcntl.flock(f, fcntl.LOCK_EX), lambda f: fcntl.flock(f, fcntl.LOCK_UN)),
        ):
            first, second = open(path.name, "w"), open(path.name, "w")
            take(first)
            waiter = go(take, second)
            time.sleep(0.02)
            assert not waiter.done
            give(first)
            waiter.result()
            try:
                fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                raise AssertionError("both have it")
    """)


def test_lock_of_another_process_is_waited_for() -> None:
    patched("""
        import fcntl, subprocess, tempfile
        path = tempfile.NamedTemporaryFile()
        holder = subprocess.Popen(
            [sys.executable, "-c", "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
             "print('locked', flush=True); input()", path.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        holder.stdout.readline()
        with open(path.name, "w") as f:
            waiters = [go(os.lockf, f.fileno(), os.F_LOCK, 0), go(fcntl.lockf, f, fcntl.LOCK_EX)]
            time.sleep(0.02)
            assert not any(w.done for w in waiters)
            holder.communicate(b"x")
            for w in waiters:
                w.result()
    """)


def test_cancelled_wait_for_a_lock_takes_none() -> None:
    patched("""
        import fcntl, tempfile
        path = tempfile.NamedTemporaryFile()
        first, second, third = (open(path.name, "w") for _ in range(3))
        fcntl.flock(first, fcntl.LOCK_EX)
        waiter = go(fcntl.flock, second, fcntl.LOCK_EX)
        time.sleep(0.01)
        waiter.cancel()
        assert waiter.join(10)
        fcntl.flock(first, fcntl.LOCK_UN)
        time.sleep(0.05)
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    """)
