"""The library that makes system calls fail."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that makes system calls fail, compiled."""
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler: the library that makes system calls fail cannot be built")
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    done = subprocess.run(
        [cc, "-shared", "-fPIC", "-O1", "-o", target, HERE / "shim.c", "-ldl"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return str(target)
