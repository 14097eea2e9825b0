/* The functions of _signal that the program sees: their arguments go to signals.pxi. */
static PyObject *signals_set(PyObject *signum, PyObject *handler); /* signals.pxi */
static PyObject *signals_get(PyObject *signum);
static PyObject *signals_wakeup(PyObject *args, PyObject *kwargs);

static PyCFunction signals_before_set, signals_before_get, signals_before_wakeup;
static PyObject *signals_module;
static int signals_wakeup_fast;

static PyObject *signals_raw_set(PyObject *signum, PyObject *handler) {
    PyObject *args[] = {signum, handler};
    return ((_PyCFunctionFast)(void (*)(void))signals_before_set)(signals_module, args, 2);
}

static PyObject *signals_raw_get(PyObject *signum) { return signals_before_get(signals_module, signum); }

static PyObject *signals_raw_wakeup(PyObject *args, PyObject *kwargs) {
    if (kwargs == Py_None) kwargs = NULL;
    if (!signals_wakeup_fast) return ((PyCFunctionWithKeywords)(void (*)(void))signals_before_wakeup)(signals_module, args, kwargs);
    PyObject *values[8], *names = kwargs ? PySequence_Tuple(kwargs) : NULL, *r = NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(args), k = names ? PyTuple_GET_SIZE(names) : 0;
    if (n + k <= 8 && (!kwargs || names)) {
        for (Py_ssize_t i = 0; i < n; i++) values[i] = PyTuple_GET_ITEM(args, i);
        for (Py_ssize_t i = 0; i < k; i++) values[n + i] = PyDict_GetItem(kwargs, PyTuple_GET_ITEM(names, i));
        r = ((_PyCFunctionFastWithKeywords)(void (*)(void))signals_before_wakeup)(signals_module, values, n, names);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "set_wakeup_fd: too many arguments");
    }
    Py_XDECREF(names);
    return r;
}

static PyObject *signals_m_set(PyObject *module, PyObject *const *args, Py_ssize_t n) {
    if (n != 2) return ((_PyCFunctionFast)(void (*)(void))signals_before_set)(module, args, n); /* says what is wrong */
    return signals_set(args[0], args[1]);
}
static PyObject *signals_m_get(PyObject *module, PyObject *signum) { return signals_get(signum); }
static PyObject *signals_m_wakeup(PyObject *module, PyObject *args, PyObject *kwargs) {
    return signals_wakeup(args, kwargs ? kwargs : Py_None);
}
static PyObject *signals_m_wakeup_fast(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    PyObject *tuple = PyTuple_New(n), *kwargs = NULL, *r = NULL;
    for (Py_ssize_t i = 0; tuple && i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    if (tuple && names) kwargs = PyDict_New();
    for (Py_ssize_t i = 0; kwargs && i < PyTuple_GET_SIZE(names); i++)
        if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), args[n + i]) != 0) Py_CLEAR(kwargs);
    if (tuple && (!names || kwargs)) r = signals_wakeup(tuple, kwargs ? kwargs : Py_None);
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return r;
}

/* 0, or -1: an exception is set. */
static int signals_replace(PyObject *set, PyObject *get, PyObject *wakeup) {
    int flags = method_flags(wakeup);
    if (method_flags(set) != METH_FASTCALL || method_flags(get) != METH_O ||
        (flags != (METH_VARARGS | METH_KEYWORDS) && flags != (METH_FASTCALL | METH_KEYWORDS))) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "gopark.patch: the functions of _signal are not CPython's");
        return -1;
    }
    signals_module = PyCFunction_GET_SELF(set);
    signals_wakeup_fast = flags == (METH_FASTCALL | METH_KEYWORDS);
    signals_before_set = (PyCFunction)method_replace(set, (void *)signals_m_set);
    signals_before_get = (PyCFunction)method_replace(get, (void *)signals_m_get);
    signals_before_wakeup = (PyCFunction)method_replace(wakeup, signals_wakeup_fast ? (void *)signals_m_wakeup_fast : (void *)signals_m_wakeup);
    return signals_before_set && signals_before_get && signals_before_wakeup ? 0 : -1;
}
