/* fork and vfork: where there are two processes, and only one runtime. */

/* Between vfork and exec the child runs in its parent's memory: what it called through a slot would be done to the parent's tables.
   So while _posixsubprocess starts a child, hooks ask which process this is (park.h). */
static PyCFunction fork_exec_before;

static PyObject *fork_exec(PyObject *module, PyObject *args) {
    park_forking++;
    PyObject *r = fork_exec_before(module, args);
    park_forking--;
    return r;
}
static PyObject *fork_exec_fast(PyObject *module, PyObject *const *args, Py_ssize_t n) {
    park_forking++;
    PyObject *r = ((_PyCFunctionFast)(void (*)(void))fork_exec_before)(module, args, n);
    park_forking--;
    return r;
}

/* 0, or -1: an exception is set. */
static int fork_exec_replace(PyObject *callable) {
    int flags = method_flags(callable);
    if (flags != METH_VARARGS && flags != METH_FASTCALL) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "gopark.patch: _posixsubprocess.fork_exec is not CPython's");
        return -1;
    }
    fork_exec_before = (PyCFunction)method_replace(callable, flags == METH_FASTCALL ? (void *)fork_exec_fast : (void *)fork_exec);
    return fork_exec_before ? 0 : -1;
}

/* From 3.12 on os.fork warns of other threads, which it counts there: those of ours are not the program's, and are no danger.  If it
   cannot read that, it counts those that threading knows. */
static FILE *h_fopen(const char *path, const char *mode) {
    if (on_runtime() && strcmp(path, "/proc/self/stat") == 0) {
        errno = ENOENT;
        return NULL;
    }
    return fopen(path, mode);
}
static const struct hook fork_hooks[] = {{"fopen", h_fopen, SLOTS_INTERPRETER}, {"fopen64", h_fopen, SLOTS_INTERPRETER}, {NULL, NULL, NULL}};

/* In the child, before anything else runs there: all calls are the real ones, until hook_forked has put the rooms in order. */
static void fork_child(void) {
    park_on = 0;
    identity_forked();
}

static void fork_watch(void) {
    static int watching;
    if (!watching) watching = pthread_atfork(NULL, NULL, fork_child) == 0;
    park_process = getpid();
}
