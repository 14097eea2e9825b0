"""A Unix socket's name: what is taken for one, and whose file a listener removes when it is closed."""

import os
import pathlib
import socket
import threading

import pytest

import gopark
from gopark import net
from support import python


def serves(address: object) -> bool:
    try:
        net.dial("unix", address, timeout=10).close()  # type: ignore[arg-type]
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


# -- whose file it is ----------------------------------------------------------------------------------------------


def test_close_leaves_the_socket_of_another_server_that_took_the_path(tmp_path) -> None:
    path = str(tmp_path / "s")
    with net.listen("unix", path) as old:
        os.unlink(path)
        with net.listen("unix", path):
            old.close()
            assert serves(path)
        assert not os.path.exists(path)


def test_close_leaves_a_file_that_took_the_path(tmp_path) -> None:
    path = tmp_path / "s"
    with net.listen("unix", str(path)):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


def test_close_removes_a_relative_path_from_where_it_was_made(tmp_path, monkeypatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "s").write_text("another's")
    monkeypatch.chdir(tmp_path / "a")
    with net.listen("unix", "s") as listener:
        assert listener.addr == "s"
        monkeypatch.chdir(tmp_path / "b")
    assert not (tmp_path / "a" / "s").exists()
    assert (tmp_path / "b" / "s").read_text() == "another's"


def test_close_on_another_thread_removes_the_path(tmp_path) -> None:
    path = tmp_path / "s"
    listener = net.listen("unix", str(path))
    thread = threading.Thread(target=listener.close)
    thread.start()
    gopark.blocking(thread.join)
    assert not path.exists()
    with pytest.raises(net.ClosedError):
        listener.accept()


def test_close_succeeds_when_the_path_or_its_directory_has_gone(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    for last in (lambda: None, lambda: os.rmdir(tmp_path / "d")):
        with net.listen("unix", str(tmp_path / "d" / "s")):
            os.unlink(tmp_path / "d" / "s")
            last()


@pytest.mark.no_run
@pytest.mark.parametrize("way", ["close", "with", "exit"])
def test_a_forked_childs_copy_leaves_the_parents_path(way: str, tmp_path) -> None:
    python(f"""
        import os, sys
        import gopark
        from gopark import net

        def main():
            path = {str(tmp_path / "s")!r}
            with net.listen("unix", path) as listener:
                pid = os.fork()
                if pid == 0:
                    if {way!r} == "exit":
                        sys.exit(0)  # through the with block
                    listener.close()
                    os._exit(0)
                assert gopark.blocking(os.waitpid, pid, 0)[1] == 0
                net.dial("unix", path, timeout=10).close()
            assert not os.path.exists(path)

        gopark.run(main)
    """)


def test_a_dial_that_fails_removes_the_path_that_it_was_to_be_made_from(tmp_path) -> None:
    mine, server = str(tmp_path / "mine"), str(tmp_path / "server")
    dialer = net.Dialer(local_addr=mine, timeout=10)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            dialer.dial("unix", server)
        assert not os.path.exists(mine)
    with net.listen("unix", server) as listener:
        dialer.dial("unix", server).close()
        listener.accept().close()
        with pytest.raises(OSError, match="address already in use"):
            dialer.dial("unix", server)
        assert os.path.exists(mine), "that of the first one"


@pytest.mark.no_run
def test_what_a_killed_process_left_is_the_users_to_remove(tmp_path) -> None:
    path = str(tmp_path / "s")
    python(
        f"""
        import os, signal
        from gopark import net
        listener = net.listen("unix", {path!r})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        check=False,
    )

    def main() -> None:
        assert not serves(path)
        with pytest.raises(OSError, match="address already in use"):
            net.listen("unix", path)
        assert os.path.exists(path)
        os.unlink(path)
        with net.listen("unix", path):
            assert serves(path)

    gopark.run(main)


# -- what is taken for a name --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 107, "pad\0\0x", "n", "\0", "with space/and slash"])
def test_abstract_names_are_whatever_the_socket_module_takes(name: str) -> None:
    name = f"{os.getpid()}{name}"[:107]
    raw = b"\0" + name.encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(raw)
        server.listen()
        for address in ("@" + name, "\0" + name, raw):
            with net.dial("unix", address, timeout=10) as conn:
                assert conn.remote_addr == raw
    with net.listen("unix", "@" + name) as listener:
        assert listener.addr == raw
        assert serves(listener.addr)


def test_an_address_that_was_given_can_be_dialed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in (f"@gopark-addr-{os.getpid()}", str(tmp_path / "s"), "relative", "./\udcff"):
        with net.listen("unix", address) as listener:
            with net.dial("unix", listener.addr, timeout=10) as conn, listener.accept() as peer:
                assert conn.remote_addr == peer.local_addr == listener.addr


def test_paths_may_be_bytes_or_path_like(tmp_path) -> None:
    path = str(tmp_path / "s")
    for address in (path, os.fsencode(path), pathlib.Path(path)):
        with net.listen("unix", address) as listener:
            assert listener.addr == path
            assert serves(pathlib.Path(path))
            assert serves(os.fsencode(path))
        assert not os.path.exists(path)


def test_a_path_has_at_most_107_bytes(tmp_path) -> None:
    path = f"{tmp_path}/" + "x" * (107 - len(str(tmp_path)) - 1)
    with net.listen("unix", path):
        assert serves(path)
    with pytest.raises(ValueError, match="path too long"):
        net.listen("unix", path + "x")


# -- a full queue --------------------------------------------------------------------------------------------------


def filled(path: str) -> tuple[net.Listener, list[socket.socket]]:
    """A listener whose queue has no room, and the clients that fill it."""
    listener = net.listen("unix", path, backlog=0)
    clients: list[socket.socket] = []
    while True:
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
        except BlockingIOError:
            s.close()
            return listener, clients
        clients.append(s)


def test_a_dial_waits_for_room_in_the_listeners_queue(tmp_path, blocked) -> None:
    listener, clients = filled(str(tmp_path / "s"))
    with listener:
        dialing = blocked(net.dial, "unix", listener.addr, on="dial backoff")
        for client in clients:
            listener.accept().close()
            client.close()
        with dialing.result(timeout=10) as conn, listener.accept() as peer:
            conn.write(b"in the end")
            assert peer.read() == b"in the end"


def test_a_dial_to_a_full_queue_ends_with_its_timeout_with_a_cancel_and_with_the_listener(
    tmp_path, blocked
) -> None:
    listener, clients = filled(str(tmp_path / "s"))
    with listener:
        with pytest.raises(net.DeadlineExceeded, match=f"^dial unix {listener.addr}: i/o timeout$"):
            net.dial("unix", str(listener.addr), timeout=0.02)
        dialing = blocked(net.dial, "unix", listener.addr, on="dial backoff")
        dialing.cancel()
        assert dialing.join(10)
        assert isinstance(dialing.exception, gopark.Cancelled)
        dialing = blocked(net.dial, "unix", listener.addr, on="dial backoff")
    with pytest.raises(FileNotFoundError):  # its path has gone with it
        dialing.result(timeout=10)
    for client in clients:
        client.close()
