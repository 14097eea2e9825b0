# cython: nonecheck=True
"""What only C can say of the hooks: the C rooms (*.h), and between them and the scheduler the Cython ones (*.pxi)."""
from libc.stdint cimport int64_t, uint64_t, uintptr_t

include "park.pxi"
include "descriptors.pxi"
include "names.pxi"
include "locks.pxi"
include "identity.pxi"
include "signals.pxi"
include "fork.pxi"
include "threads.pxi"
include "slots.pxi"
include "mutexes.pxi"
include "offload.pxi"
