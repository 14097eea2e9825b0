"""AllGs, the goroutines that have not ended: linked through themselves, so whoever leaves it keeps nobody alive."""

import gc
import random
import weakref

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.g import AllGs, Goroutine
from support import IS_COMPILED, goroutines


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


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core has a set, and the collector looks at all")
@goroutines
def test_the_collector_does_not_look_at_goroutines_that_live() -> None:
    g = gopark.go(gopark.sleep, 1e6)
    assert not gc.is_tracked(g) and not gc.is_tracked(gopark.current())
    g.cancel()
    g.join(5)
    assert gc.is_tracked(g)


@goroutines
def test_a_goroutine_that_has_ended_is_collected_with_its_cycle() -> None:
    class Box:
        g: gopark.Goroutine

    def body(box: Box) -> Box:
        return box

    box = Box()
    box.g = gopark.go(body, box)
    box.g.join(5)
    gone = weakref.ref(box)
    del box
    gopark.sleep(0.001)
    gc.collect()
    assert gone() is None


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
