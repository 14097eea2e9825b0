# The runtime's side of names.h: a look-up on the pool, at the gate that gopark.net's go through.
from gopark.net import resolver as _resolver

cdef extern from "rooms.h" nogil:
    cdef struct lookup:
        int owners
        void (*run)(lookup *) noexcept nogil
    void lookup_drop(lookup *l)


cdef class Lookup:
    """A look-up's second owner: the call on the pool."""
    cdef lookup *l

    def __call__(self):
        with nogil:
            self.l.run(self.l)

    def __dealloc__(self):
        if self.l != NULL:
            lookup_drop(self.l)


cdef int bridge_lookup "bridge_lookup" (lookup *l) noexcept:
    cdef Lookup call
    global main_deaf
    cdef int main = bridge_main()
    if not can_park():
        return PARK_CANNOT
    try:
        call = Lookup()
        l.owners += 1
        call.l = l
        main_deaf += main  # a signal's handler runs when it is over, as in CPython
        try:
            _blocking.blocking_at(_resolver.lookups, call)
        finally:
            main_deaf -= main
        resumed()
        return PARK_READY
    except BaseException as e:
        if isinstance(e, (RuntimeError, MemoryError)) and _blocking.counts()[0] == 0:
            return PARK_CANNOT  # the pool has no thread
        return keep(e)
