"""AllGs, the goroutines that have not ended: linked through themselves, so whoever leaves it keeps nobody alive."""

import gc
import random
import weakref

import gopark
from gopark.runtime import proc
from gopark.runtime.g import AllGs, Goroutine
from support import goroutines


def made(n: int) -> list[Goroutine]:
    return [Goroutine(print, (), None) for _ in range(n)]


def test_whoever_is_added_is_there_once_until_it_is_discarded() -> None:
    rng = random.Random(7)
    gs = made(20)
    allgs, model = AllGs(), set()
    for _ in range(2000):
        gp = rng.choice(gs)
        if rng.random() < 0.5:
            allgs.add(gp)
            model.add(gp)
        else:
            allgs.discard(gp)
            model.discard(gp)
        assert len(allgs) == len(model)
        assert allgs.copy() == model and len(list(allgs)) == len(model)


def test_who_has_left_keeps_nobody_alive() -> None:
    allgs = AllGs()
    first, second, third = made(3)
    for gp in (first, second, third):
        allgs.add(gp)
    allgs.discard(second)
    gone = [weakref.ref(first), weakref.ref(third)]
    allgs.clear()
    del first, third, gp
    gc.collect()
    assert [ref() for ref in gone] == [None, None] and len(allgs) == 0
    allgs.add(second)
    assert list(allgs) == [second]


@goroutines
def test_all_goroutines_are_known_until_they_have_ended_in_whatever_order() -> None:
    rng = random.Random(3)
    gs = [gopark.go(gopark.sleep, 1e6) for _ in range(50)]
    assert set(proc.getp().allgs) == {*gs, gopark.current()}
    while gs:
        g = gs.pop(rng.randrange(len(gs)))
        g.cancel()
        g.join(5)
        assert set(proc.getp().allgs) == {*gs, gopark.current()}
        assert gopark.num_goroutine() == len(gs) + 1
