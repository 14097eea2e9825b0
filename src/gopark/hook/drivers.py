"""Which C libraries are hooked, and what becomes of calls that cannot park: gopark.offload.

What a library's slots are is in slots.h, its mutexes in mutexes.h, a C function on the pool in offload.h.  Which of the
libraries park, and how that is tested, is told to users by the table in docs/run.md.
"""

# How a library's mutexes are treated: slots.h.
PLAIN = 0  # not at all
COUNTED = 1  # nothing parks while one is held
SHARED = 2  # held for as long as a query takes: who else wants it parks

# Beginnings of file names; with a slash, from a folder on.
LIBRARIES: list[tuple[str, int]] = [
    ("libpq.", COUNTED),
    ("libpq-", COUNTED),  # in wheels: psycopg2-binary, psycopg-binary
    ("psycopg2/_psycopg.", SHARED),  # a mutex a connection, which several threads may use
    ("psycopg_binary/", COUNTED),
    ("psycopg_c/", COUNTED),
    ("libmariadb", COUNTED),
    ("libmysqlclient", COUNTED),
    ("MySQLdb/_mysql.", COUNTED),  # its wheels have the client library in it
    ("libcurl", COUNTED),
    ("pycurl", COUNTED),
    ("libhiredis", COUNTED),
    ("hiredis/", COUNTED),
    ("libmemcached", COUNTED),
    ("libsybdb", COUNTED),  # FreeTDS, and those that have it inside
    ("libct.", COUNTED),
    ("libtdsodbc", COUNTED),
    ("pymssql/", COUNTED),
    ("libzmq", COUNTED),
    ("uvloop/loop.", COUNTED),
    ("libsqlite3", SHARED),  # a connection's mutex is held while it waits for another to end its transaction
    ("_cffi_backend.", PLAIN),
]


def offload(library: str, function: str) -> None:
    """Have calls of the C function *function* of *library* made on threads of the pool, while their goroutines park.

    For libraries that block and cannot park.  *library* is how its file's name begins ("libfoo"); it may be loaded later.
    Who calls the function in C is redirected, and who looks it up later (ctypes, cffi).  It may have up to six arguments,
    integers or pointers, and such a result.  Memory on the caller's C stack that it is given must not point there in turn,
    and not be used after the call.  It must not use Python without taking the GIL.

    RuntimeError if patch() has not been called; LookupError if the library is loaded and has no such function; OSError."""
    from gopark.hook import _hook, is_patched

    if not is_patched():
        raise RuntimeError("gopark.offload: call gopark.patch() first")
    for what, value in (("library", library), ("function", function)):
        if not isinstance(value, str) or not value or "\0" in value:
            raise TypeError(f"gopark.offload: {what} must be a name, not {value!r}")
    if not _hook.offload_function(library, function) and _hook.offload_loaded(library):
        raise LookupError(f"gopark.offload: {library} has no function {function}")
