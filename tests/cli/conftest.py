"""For the tests of ``gopark run``: only where a process can be patched."""

import pytest

import gopark.hook


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = gopark.hook.refusal()
    if why is not None:
        for item in items:
            if (
                item.path.name.startswith("test_run_")
                and item.path.parent.name == "cli"
                and "refus" not in item.name
            ):
                item.add_marker(pytest.mark.skip(reason=f"cannot be patched here: {why}"))
