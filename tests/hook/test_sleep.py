"""Sleeping, and waiting for signals, parks."""

from hooked import patched


def test_sleepers_sleep_beside_one_another() -> None:
    patched("""
        began = time.monotonic()
        sleepers = [go(time.sleep, 0.2) for _ in range(50)]
        for s in sleepers:
            s.result()
        assert 0.2 <= time.monotonic() - began < 2
    """)


def test_sleep_of_zero_lets_the_others_run() -> None:
    patched("""
        seen = []
        go(seen.append, 1)
        time.sleep(0)
        assert seen == [1]
    """)


def test_sigwait_parks_and_takes_the_signal() -> None:
    patched("""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})
        for wait in (
            lambda: signal.sigwait({signal.SIGUSR2}),
            lambda: signal.sigwaitinfo({signal.SIGUSR2}).si_signo,
            lambda: signal.sigtimedwait({signal.SIGUSR2}, 20).si_signo,
        ):
            waiter = go(wait)
            time.sleep(0.01)
            assert not waiter.done
            os.kill(os.getpid(), signal.SIGUSR2)
            assert waiter.result() == signal.SIGUSR2
        assert signal.sigtimedwait({signal.SIGUSR2}, 0.01) is None
        assert signal.sigtimedwait({signal.SIGUSR2}, 0) is None
        os.kill(os.getpid(), signal.SIGALRM)
        assert signal.sigwait({signal.SIGALRM, signal.SIGUSR2}) == signal.SIGALRM
    """)
