"""A process that is started without its standard descriptors: the runtime's own are others."""

import pytest

from support import python

PROGRAM = """
import os, subprocess, sys
program = '''
import os, sys
def own():
    return {fd for fd in range(3) if os.path.exists(f"/proc/self/fd/{fd}")}
before = own()
import gopark
from gopark import go, net
out = os.fdopen(REPORT, "w")
def main():
    listener = net.listen("tcp", "127.0.0.1:0")
    from gopark.runtime import proc
    poller = proc.getp().poller
    mine = [os.readlink(f"/proc/self/fd/{fd}") for fd in own() - before]
    out.write(f"{min(poller.epfd, poller.breakfd, poller.sigfd) > 2} "
              f"{[m for m in mine if 'event' in m or 'pipe' in m or 'syscall' in m]} ")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        if fd != listener.fileno(): os.dup2(null, fd)      # as a daemon does
    g = go(lambda: listener.accept().read())
    with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}", timeout=5) as conn: conn.write(b"hi")
    out.write(str(g.result(5)))
    out.flush()
gopark.run(main)
'''
r, w = os.pipe()
high = 50
os.dup2(w, high)
os.close(w)
subprocess.run(
    ["sh", "-c", 'exec "$0" -c "$1" CLOSE', sys.executable, program.replace("REPORT", str(high))],
    pass_fds=[high], timeout=20, check=False,
)
os.close(high)
print(open(r).read())
"""


@pytest.mark.parametrize("close", ["<&- >&- 2>&-", "<&-", "2>&-"])
def test_descriptors_of_the_runtime_are_never_the_standard_ones(close: str) -> None:
    done = python(PROGRAM.replace("CLOSE", close))
    assert done.stdout.strip() == "True [] b'hi'"
