# Python's view of slots.h.
import os as _os

cdef extern from "rooms.h" nogil:
    cdef struct slot:
        void *where
        const char *name
        char *object
    cdef struct hook:
        void *function
    const hook *slots_find(const char *name, const char *object, int kind)
    slot *slots
    size_t slots_count
    int slots_add_wanted(const char *part, int kind)
    void slots_forget_wanted()
    int slots_scan()
    int slots_restore()
    int SLOTS_KNOWN


def slots_known() -> bool:
    """Is this a processor whose slots are known?"""
    return SLOTS_KNOWN != 0


def slots_hook(list objects) -> None:
    """Hook the loaded objects whose file names begin so ("": the program itself), and those that will be loaded.  OSError.

    With each how its mutexes are treated: slots.h."""
    cdef bytes part
    cdef int err
    for name, kind in objects:
        part = _os.fsencode(name)
        err = slots_add_wanted(part, kind)
        if err != 0:
            raise OSError(err, f"cannot hook {name}: {_os.strerror(err)}")
    err = slots_scan()
    if err != 0:
        raise OSError(err, f"cannot replace a library's calls: {_os.strerror(err)}")


def slots_unhook() -> None:
    """Every slot as it was.  OSError."""
    cdef int err
    slots_forget_wanted()
    err = slots_restore()
    if err != 0:
        raise OSError(err, f"cannot put a library's calls back: {_os.strerror(err)}")


def slots_listed() -> list[tuple[str, str]]:
    """(object, call) of every slot that is hooked."""
    return [(_os.fsdecode(slots[i].object), slots[i].name.decode()) for i in range(slots_count)]


def slots_function(str name) -> int:
    """The address of what is called in the place of *name*; 0: it is not hooked."""
    cdef const hook *h = slots_find(name.encode(), b"libpython3", 0)
    return <uintptr_t>h.function if h != NULL else 0
