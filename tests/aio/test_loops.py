"""Several asyncio loops at once, each in its goroutine of a patched process, beside goroutines that block."""

import importlib.util

import pytest

from gopark.hook import refusal
from hooked import patched

pytestmark = pytest.mark.skipif(refusal() is not None, reason=f"cannot be patched: {refusal()}")


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


COMMON = """
import asyncio
ticks = 0
def beat():
    global ticks
    while True:
        time.sleep(0.005)
        ticks += 1
threading.Thread(target=beat, daemon=True).start()

def at_once(functions, seconds):
    "Run functions in threads; their results; AssertionError if it took longer."
    out = {}
    def body(i, f):
        try:
            out[i] = f()
        except BaseException as e:
            out[i] = e
    threads = [threading.Thread(target=body, args=(i, f)) for i, f in enumerate(functions)]
    began = time.monotonic()
    before = ticks
    for t in threads: t.start()
    for t in threads: t.join()
    took = time.monotonic() - began
    assert took < seconds, took
    assert ticks - before >= 3, ticks - before
    return [out[i] for i in range(len(functions))]
"""


def both(program: str) -> str:
    import textwrap

    return COMMON + textwrap.dedent(program)


def test_many_asyncio_loops_run_at_once() -> None:
    done = patched(
        both("""
        async def main(n):
            loop = asyncio.get_running_loop()
            for _ in range(10):
                await asyncio.gather(*[asyncio.sleep(0.02) for _ in range(5)])
                assert asyncio.get_running_loop() is loop
                assert asyncio.current_task().get_coro().cr_code.co_name == "main"
            return n
        assert at_once([lambda n=n: asyncio.run(main(n)) for n in range(20)], 3) == list(range(20))
        """)
    )
    assert "Traceback" not in done.stderr


def test_no_goroutine_sees_the_loop_of_another() -> None:
    """Also where the one that runs it is preempted in the middle of a coroutine, or blocks there."""
    done = patched(
        both("""
        async def main(n):
            loop = asyncio.get_running_loop()
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                assert asyncio.get_running_loop() is loop
            time.sleep(0.01)
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            return n
        def watch():
            seen = set()
            for _ in range(40):
                seen.add(asyncio._get_running_loop())
                time.sleep(0.005)
            return seen
        out = at_once([lambda: asyncio.run(main(1)), lambda: asyncio.run(main(2)), watch], 5)
        assert out == [1, 2, {None}], out
        """)
    )
    assert "Traceback" not in done.stderr


def test_loops_connect_to_one_another_and_to_blocking_sockets() -> None:
    done = patched(
        both("""
        listener = socket.create_server(("127.0.0.1", 0))
        def blocking_server():
            for _ in range(10):
                conn, _ = listener.accept()
                with conn:
                    while data := conn.recv(1000):
                        time.sleep(0.01)
                        conn.sendall(data.upper())
        ready = threading.Event()
        port = []
        async def server():
            async def handle(reader, writer):
                r, w = await asyncio.open_connection(*listener.getsockname())
                while data := await reader.readline():
                    w.write(data)
                    writer.write(await r.readline())
                w.close()
                writer.close()
            s = await asyncio.start_server(handle, "127.0.0.1", 0)
            port.append(s.sockets[0].getsockname()[1])
            ready.set()
            async with s:
                await asyncio.sleep(1.0)
        async def client():
            reader, writer = await asyncio.open_connection("127.0.0.1", port[0])
            writer.write(b"hello\\n")
            answer = await reader.readline()
            writer.close()
            return answer
        threading.Thread(target=blocking_server, daemon=True).start()
        for _ in range(2): threading.Thread(target=blocking_server, daemon=True).start()
        loop = threading.Thread(target=asyncio.run, args=(server(),))
        loop.start()
        ready.wait()
        assert at_once([lambda: asyncio.run(client()) for _ in range(5)], 3) == [b"HELLO\\n"] * 5
        loop.join()
        """)
    )
    assert "Traceback" not in done.stderr


def test_run_coroutine_threadsafe_and_executors_cross_between_goroutines() -> None:
    done = patched(
        both("""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        async def add(a, b):
            await asyncio.sleep(0.01)
            return a + await asyncio.to_thread(lambda: time.sleep(0.01) or b)
        ask = lambda i: asyncio.run_coroutine_threadsafe(add(i, 1), loop).result(10)
        assert at_once([lambda i=i: ask(i) for i in range(20)], 3) == list(range(1, 21))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        async def end():
            await loop.shutdown_default_executor()
        loop.run_until_complete(end())
        loop.close()
        """)
    )
    assert "Traceback" not in done.stderr


def test_asynchronous_generators_are_closed_by_their_own_loop() -> None:
    """The hooks that tell a loop of them belong to the thread, and so to the goroutine."""
    done = patched(
        both("""
        import gc, sys
        closed = []
        async def numbers(name):
            try:
                while True:
                    await asyncio.sleep(0.001)
                    yield name
            finally:
                await asyncio.sleep(0.001)
                closed.append((name, asyncio.get_running_loop()))
        async def main(name, n):
            g = numbers(name)
            for _ in range(n):
                assert await anext(g) == name
            del g
            await asyncio.sleep(0.02)
            return asyncio.get_running_loop()
        names = list("abcdef")
        loops = at_once([lambda i=i: asyncio.run(main(names[i], 10 + 5 * i)) for i in range(6)], 5)
        assert sorted(closed, key=lambda c: c[0]) == list(zip(names, loops)), (closed, loops)
        assert sys.get_asyncgen_hooks() == (None, None)
        """)
    )
    assert "Traceback" not in done.stderr


def test_the_loop_behind_aio_beside_loops_of_the_program() -> None:
    done = patched(
        both("""
        async def work(n):
            await asyncio.sleep(0.02)
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                assert asyncio.get_running_loop() is not None
            return n
        waits = [lambda n=n: gopark.aio.wait(work(n)) for n in range(5)]
        runs = [lambda n=n: asyncio.run(work(n)) for n in range(5, 10)]
        assert at_once(waits + runs, 5) == list(range(10))
        async def thread():
            return threading.get_ident(), await gopark.aio.future(go(time.sleep, 0.01))
        assert gopark.aio.wait(thread())[0] != threading.get_ident()
        async def confused():
            gopark.aio.wait(work(1))
        for how in (asyncio.run, gopark.aio.wait):
            try:
                how(confused())
            except RuntimeError as e:
                assert "use await" in str(e)
            else:
                raise AssertionError
        """)
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signum", ["SIGINT"])
def test_ctrl_c_ends_the_main_goroutines_loop(signum: str) -> None:
    done = patched(
        f"""
        import asyncio
        async def main():
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.{signum})
            try:
                await asyncio.sleep(3600)
            finally:
                print("main ended")
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert done.stdout == "main ended\ninterrupted\n"


@needs("uvloop")
def test_uvloop_loops_run_at_once() -> None:
    done = patched(
        both("""
        import uvloop
        async def main(n):
            for _ in range(5):
                await asyncio.gather(*[asyncio.sleep(0.02) for _ in range(5)])
            return n, type(asyncio.get_running_loop()).__module__
        def run(n):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main(n))
        assert at_once([lambda n=n: run(n) for n in range(10)], 3) == [(n, "uvloop") for n in range(10)]
        """)
    )
    assert "Traceback" not in done.stderr


@needs("anyio")
def test_anyio_loops_run_at_once_and_call_threads() -> None:
    done = patched(
        both("""
        import anyio, anyio.to_thread, anyio.from_thread
        async def main(n):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(anyio.sleep, 0.02)
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep(3600)
            assert scope.cancelled_caught
            assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(anyio.sleep, 0.01) or 7) == 7
            return n
        assert at_once([lambda n=n: anyio.run(main, n) for n in range(10)], 5) == list(range(10))
        with anyio.from_thread.start_blocking_portal() as portal:
            assert portal.call(main, 5) == 5
        """)
    )
    assert "Traceback" not in done.stderr


@needs("uvicorn", "httpx")
def test_uvicorn_in_a_thread_and_httpx_clients_of_both_kinds() -> None:
    done = patched(
        both("""
        import httpx, uvicorn
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await asyncio.sleep(0.1)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        listener = socket.create_server(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", loop="asyncio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        async def ask():
            async with httpx.AsyncClient(trust_env=False, verify=False) as client:
                answers = await asyncio.gather(*[client.get(url) for _ in range(5)])
                return [a.text for a in answers]
        def block():
            with httpx.Client(trust_env=False, verify=False) as client:
                return client.get(url).text
        functions = [lambda: asyncio.run(ask())] * 4 + [lambda: gopark.aio.wait(ask())] * 4 + [block] * 10
        assert at_once(functions, 8) == [["ok"] * 5] * 8 + ["ok"] * 10
        server.should_exit = True
        thread.join()
        """)
    )
    assert "Traceback" not in done.stderr


def test_the_loop_behind_aio_outlives_runs_and_ends_beside_daemon_threads() -> None:
    done = patched(
        both("""
        async def loop():
            return asyncio.get_running_loop()
        first = gopark.run(gopark.aio.wait, loop())
        assert gopark.aio.wait(loop()) is first
        async def background():
            try:
                await asyncio.sleep(3600)
            finally:
                print("background ended")
        async def start():
            return asyncio.create_task(background())
        task = gopark.aio.wait(start())
        gopark.aio.wait(asyncio.sleep(0.01))
        """),
        timeout=4,  # the end of a run that has to give up somebody takes longer
    )
    assert (done.stdout, done.stderr) == ("background ended\n", "")
