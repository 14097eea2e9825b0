"""The source tree is tidy."""

from collections.abc import Callable, Iterator

import pytest

from tidy.rules import RULES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[], Iterator[str]]) -> None:
    problems = list(rule())
    assert not problems, "\n".join(problems)
