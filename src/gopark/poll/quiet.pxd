# The compiled core's quiet.py.  poll_wait says -1 exactly if an exception is set; called as if it raised none, it leaves that set.
from gopark.runtime cimport netpoll
from gopark.runtime.polldesc cimport PollDesc

cdef inline int poll_wait(PollDesc pd, int mode) noexcept:
    return (<int (*)(PollDesc, int) noexcept>netpoll.poll_wait)(pd, mode)
