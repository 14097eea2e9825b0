# Which number a goroutine has as a thread (identity.h), and what a switch exchanges.
from gopark.runtime.g cimport Hook

cdef extern from "rooms.h" nogil:
    unsigned long *identity_word
    unsigned long identity_main
    int identity_find()
    void identity_forget()
    void identity_set(unsigned long ident)


cdef unsigned long ident_of(Goroutine gp) noexcept:
    """What _thread.get_ident says in *gp*; None: on the scheduler's own stack, where the main goroutine's handlers run."""
    if gp is None or gp is _p.maing:
        return identity_main
    return <unsigned long><void *>gp | 1


@cython.final
cdef class SwitchHook(Hook):
    """P.hook of a patched process."""

    cdef void switched(self, Goroutine gp) noexcept:
        identity_set(ident_of(gp))
        signals_switched(gp)
        threads_switched(gp)

    cdef void begun(self, Goroutine gp) noexcept:
        self.switched(gp)
        tstate_begin()

    cpdef unsigned long ident(self) except? 0:
        return identity_word[0]

    cdef void attended(self) noexcept:
        semaphores_attend()

    cdef void ended(self, Goroutine gp) noexcept:
        threads_ended(gp)


def identity_start() -> None:
    """From now on goroutines are told apart.  RuntimeError if this interpreter's main thread is not found."""
    if identity_find() != 0:
        raise RuntimeError("gopark.patch: where this interpreter keeps its main thread was not found: is it CPython's own build?")
    _p.hook = SwitchHook()
    _p.hook.switched(_p.curg)


def identity_stop() -> None:
    """All are the main thread again."""
    _p.hook = None
    identity_forget()
