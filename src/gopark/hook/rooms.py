"""What patch() does, step by step, each with its undo: one line a room."""

from gopark.hook import _hook, blocked, pooled, spawn, threads, wanted
from gopark.runtime.start import Step


def _nothing() -> None:
    pass


def _hook_all() -> None:
    _hook.slots_hook(wanted())


STEPS = (
    Step("descriptors", _hook.descriptors_start, _hook.descriptors_stop),
    Step("bridge", _hook.bridge_start, _hook.bridge_stop),
    Step("identity", _hook.identity_start, _hook.identity_stop),
    Step("threads", threads.do, threads.undo),
    Step("locks", _hook.locks_start, _hook.locks_stop),
    Step("fork", _hook.fork_start, _nothing),
    Step("signals", _hook.signals_start, _hook.signals_stop),
    Step("offload", _hook.offload_start, _hook.offload_stop),
    Step("slots", _hook_all, _hook.slots_unhook),
    Step("pooled methods", pooled.start, pooled.stop),
    Step("blocked", blocked.start, blocked.stop),
    Step("spawned children", spawn.install, spawn.uninstall),
)
