"""What peers and programs have named is escaped in dumps: it can neither forge lines nor command a terminal."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

import gopark
from gopark import net
from gopark.runtime import output
from support import goroutines, parked

EVIL = (
    "x\n\ngoroutine 9999 [running]:\n__main__.gone(...)\n\t/app/evil.py:1\n\x1b[31m\x1b]0;title\x07\u202e\x9b"
)


def checked(text: str) -> str:
    assert re.sub(r"[\n\t]", "", text).isprintable()
    assert not re.search(r"^goroutine 9999 ", text, re.M)
    assert r"x\n\ngoroutine 9999 [running]:\n__main__.gone(...)\n\t/app/evil.py:1\n\x1b[31m" in text
    return text


@pytest.mark.parametrize("abstract", [True, False])
@goroutines
def test_the_address_of_a_unix_peer(abstract: bool, tmp_path: Path) -> None:
    own = (
        b"\0" + EVIL.encode() if abstract else os.fsencode(tmp_path) + b"/" + EVIL.replace("/", "-").encode()
    )
    with net.listen("unix", str(tmp_path / "s")) as listener, socket.socket(socket.AF_UNIX) as client:
        client.bind(own[:100])
        client.connect(str(tmp_path / "s"))
        with listener.accept() as conn:
            gp = parked(gopark.go(conn.read), "IO wait")
            text = gopark.stack()
            gp.cancel()
            gp.join()
    assert re.sub(r"[\n\t]", "", text).isprintable()
    assert not re.search(r"^goroutine 9999 ", text, re.M)
    assert re.search(r"x(\\n|\\x0a){2}goroutine 9999 \[running\]:", text)


@goroutines
def test_the_name_of_a_goroutine() -> None:
    gp = parked(gopark.go(gopark.sleep, 1e6))
    gp.name = EVIL
    checked(gopark.stack())


@pytest.mark.parametrize("part", ["module", "function", "file"])
@goroutines
def test_names_of_code(part: str) -> None:
    def sleeper() -> None:
        gopark.sleep(1e6)

    code = sleeper.__code__
    scope: dict[str, Any] = {"gopark": gopark, "__name__": EVIL if part == "module" else "m"}
    if part == "function":
        code = code.replace(co_name=EVIL, co_qualname=EVIL)
    elif part == "file":
        code = code.replace(co_filename=EVIL)
    maker = type(sleeper)
    for waiting in (True, False):
        gp = gopark.go(maker(code, scope))
        if waiting:
            parked(gp)
        checked(gopark.stack())
        gp.cancel()
        gp.join()


@goroutines
def test_the_name_of_a_function_that_blocks() -> None:
    def sleeper() -> None: ...

    sleeper.__qualname__ = EVIL
    from gopark.runtime import debug

    seen = debug.Snapshot(7, "", "waiting", "blocking call", 1.0, sleeper.__qualname__, (), (), None, 0)
    checked(debug.text(seen))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcödé 你好", "plain ünïcödé 你好"),
        ("\x00\x1b\x7f\x9b", r"\x00\x1b\x7f\x9b"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u2028\u202e\u2066\ufeff", r"\u2028\u202e\u2066\ufeff"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_printable_text_is_left_as_it_is_and_the_rest_escaped(text: str, shown: str) -> None:
    assert output.printable(text) == shown
