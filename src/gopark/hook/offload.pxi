# Python's view of offload.h and of mutexes.h.
cdef extern from "rooms.h" nogil:
    void offload_measure()
    int offload_add(const char *library, const char *name)
    bint offload_has(const char *name)
    void offload_forget()
    bint offload_loaded_ "offload_loaded" (const char *library)
    long offload_calls, offload_copies


def offload_start() -> None:
    """On the runtime's thread."""
    offload_measure()


def offload_stop() -> None:
    """No function is made elsewhere any more; its slots are put back with the others."""
    offload_forget()


def offload_function(str library, str function) -> bool:
    """gopark.offload's half in C.  Is the function there already?  OSError."""
    cdef bytes lib = _os.fsencode(library), name = function.encode()
    cdef int err = offload_add(lib, name)
    if err != 0:
        raise OSError(err, f"cannot offload {function} of {library}: {_os.strerror(err)}")
    return offload_has(name)


def offload_loaded(str library) -> bool:
    """Is there such an object?"""
    cdef bytes lib = _os.fsencode(library)
    return offload_loaded_(lib)


def driver_counters() -> dict[str, int]:
    """Parks that were refused because a mutex was held; calls on the pool, and those of them with words that pointed to the stack."""
    return {"under_mutex": held_refused, "offloaded": offload_calls, "stack_arguments": offload_copies}


cdef extern from *:
    """
    /* Of a type that does not let its attributes be set, too. */
    static int offload_type_replace(PyTypeObject *type, PyObject *name, PyObject *value) {
        if (PyDict_SetItem(type->tp_dict, name, value) != 0) return -1;
        PyType_Modified(type);
        return 0;
    }
    """
    int offload_type_replace(type cls, object name, object value) except -1


def type_replace(type cls not None, str name not None, value) -> None:
    """cls.name = value, also where the type is C's."""
    offload_type_replace(cls, name, value)
