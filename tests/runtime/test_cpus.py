"""How many CPUs there are to use: control groups as the kernel shows them, in files of our own."""

import os
from pathlib import Path

import pytest

from gopark.runtime import cpus


def groups(tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str]) -> str:
    """A /proc/self, and the control groups' file systems."""
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text(mounts.replace("TMP", str(tmp_path)))
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


V2 = "29 23 0:26 {root} TMP/{point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({"a/b": "150000 100000"}, 2),  # one and a half: rounded up
        ({"a/b": "max 100000"}, None),
        ({"a/b": "max 100000", "a": "300000 100000"}, 3),  # of a group above
        ({"a/b": "400000 100000", "a": "50000 100000"}, 1),  # the smallest
        ({}, None),
    ],
)
def test_quota_of_cgroup_v2(tmp_path: Path, limits: dict[str, str], found: int | None) -> None:
    files = {f"fs/{group}/cpu.max": text + "\n" for group, text in limits.items()}
    assert cpus.quota(groups(tmp_path, "0::/a/b\n", V2.format(root="/", point="fs"), files)) == found


def test_quota_of_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    for cgroup, root in (("0::/\n", "/"), ("0::/../other\n", "/"), ("0::/docker/x\n", "/docker/x")):
        files = {"with space/cpu.max": "250000 100000\n"}
        mounts = V2.format(root=root, point="with\\040space")
        assert cpus.quota(groups(tmp_path, cgroup, mounts, files)) == 3


def test_quota_of_cgroup_v1(tmp_path: Path) -> None:
    cgroup = "12:cpuset:/\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n"
    mounts = (
        "30 23 0:27 /docker/x TMP/cpuset rw - cgroup cgroup rw,cpuset\n"
        "31 23 0:28 /docker/x TMP/cpu rw,relatime master:9 - cgroup cgroup rw,cpu,cpuacct\n"
    )
    files = {"cpu/cpu.cfs_quota_us": "220000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cpus.quota(groups(tmp_path, cgroup, mounts, files)) == 3
    files["cpu/cpu.cfs_quota_us"] = "-1\n"
    assert cpus.quota(groups(tmp_path, cgroup, mounts, files)) is None


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::/x\n"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str) -> None:
    assert cpus.quota(groups(tmp_path, text, text, {})) is None
    assert cpus.quota(str(tmp_path / "missing")) is None


def test_affinity_counts() -> None:
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert cpus.usable() == 1
    finally:
        os.sched_setaffinity(0, mine)
    assert 1 <= cpus.usable() <= len(mine)
