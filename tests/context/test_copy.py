"""A context is one place in one tree: it cannot be copied."""

import copy
import pickle

import pytest

from gopark import context


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("ctx", [context.background(), context.with_timeout(60)])
def test_contexts_refuse_to_be_copied(duplicate, ctx: context.Context) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        duplicate(ctx)
