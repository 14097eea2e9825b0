/* C's side of threads.pxi: exceptions that are sent to a thread, and what CPython 3.13 has a handle of a thread for.

   What must not live here: what a thread has of its own (tstate.h, identity.h), how goroutines become threads (threads.pxi). */

/* With the GIL.  1: *exc* will be raised in that goroutine (NULL: nothing will); 0: there is none with that ident. */
static int bridge_async(unsigned long ident, PyObject *exc);

static int h_PyThreadState_SetAsyncExc(unsigned long ident, PyObject *exc) {
    return park_on && bridge_async(ident, exc) ? 1 : PyThreadState_SetAsyncExc(ident, exc);
}

static const struct hook threads_hooks[] = {{"PyThreadState_SetAsyncExc", h_PyThreadState_SetAsyncExc}, {NULL, NULL}};

/* What a function that _thread has started has raised. */
static void thread_report(PyObject *exc, PyObject *fn) {
    park_put_raised(Py_NewRef(exc));
#if PY_VERSION_HEX >= 0x030D0000
    PyErr_FormatUnraisable("Exception ignored in thread started by %R", fn);
#else
    _PyErr_WriteUnraisableMsg("in thread started by", fn);
#endif
}

/* -- _thread._ThreadHandle: which ones are goroutines' is told by their address */

static void bridge_handle_gone(PyObject *handle);

static PyTypeObject *handle_type; /* whose tp_dealloc is ours */
static destructor handle_dealloc_before;
static PyGetSetDef *handle_ident;
static getter handle_ident_before;

static void handle_dealloc(PyObject *handle) {
    bridge_handle_gone(handle);
    handle_dealloc_before(handle);
}

/* The address of one that is gone may be another's. */
static void handle_watch(PyTypeObject *type) {
    handle_type = type;
    handle_dealloc_before = type->tp_dealloc;
    type->tp_dealloc = handle_dealloc;
}

static int handle_replace_ident(PyObject *descriptor, getter get) {
    if (!Py_IS_TYPE(descriptor, &PyGetSetDescr_Type)) {
        PyErr_Format(PyExc_RuntimeError, "gopark.patch: %R has been replaced by another library", descriptor);
        return -1;
    }
    handle_ident = ((PyGetSetDescrObject *)descriptor)->d_getset;
    handle_ident_before = handle_ident->get;
    handle_ident->get = get;
    return 0;
}

static void handle_restore(void) {
    if (handle_type) handle_type->tp_dealloc = handle_dealloc_before;
    if (handle_ident) handle_ident->get = handle_ident_before;
    handle_type = NULL;
    handle_ident = NULL;
}
