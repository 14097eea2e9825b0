/* A C function of an extension module's, replaced in its PyMethodDef: whoever has a reference to it, however early it was taken,
   calls the new one.  For what is not a system call, but says or does something that is a thread's.

   The new one has the old one's flags (METH_NOARGS, ...), which say how it is called. */
#include <Python.h>

enum { METHODS = 64 };
static struct { PyMethodDef *def; PyCFunction before; } methods[METHODS];
static int methods_count;

static PyMethodDef *method_def(PyObject *callable) {
    if (PyCFunction_Check(callable)) return ((PyCFunctionObject *)callable)->m_ml;
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type)) return ((PyMethodDescrObject *)callable)->d_method;
    PyErr_Format(PyExc_TypeError, "%R is not a function of C", callable);
    return NULL;
}

/* Its flags; -1: an exception is set. */
static int method_flags(PyObject *callable) {
    PyMethodDef *def = method_def(callable);
    return def ? def->ml_flags : -1;
}

/* Replace *callable*, or the method that a type's attribute *callable* is.  The old one; NULL: an exception is set. */
static void *method_replace(PyObject *callable, void *function) {
    PyMethodDef *def = method_def(callable);
    if (!def) return NULL;
    for (int i = 0; i < methods_count; i++)
        if (methods[i].def == def) {
            def->ml_meth = (PyCFunction)function;
            return (void *)methods[i].before;
        }
    if (methods_count == METHODS) {
        PyErr_SetString(PyExc_RuntimeError, "gopark.patch: too many functions are replaced");
        return NULL;
    }
    methods[methods_count].def = def;
    methods[methods_count].before = def->ml_meth;
    def->ml_meth = (PyCFunction)function;
    return (void *)methods[methods_count++].before;
}

static void method_restore_all(void) {
    while (methods_count > 0) {
        methods_count--;
        methods[methods_count].def->ml_meth = methods[methods_count].before;
    }
}
