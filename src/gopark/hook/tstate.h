/* What CPython keeps for each thread in its thread state, kept for each goroutine instead: it moves in and out of the one thread
   state that they share when another goroutine is about to run.  (What belongs to the stack moves with the stack: greenlet's.)

   What must not live here: whose it is (threads.pxi); the number that a goroutine has as a thread (identity.h).

   Fields move, nothing is counted: the thread state owns what is loaded, everybody else's is in its own struct.  The collector
   sees none of it in a goroutine that does not run, as it sees none of it in a thread. */
#if PY_VERSION_HEX >= 0x030D0000
/* The head of _PyThreadStateImpl, which is what every PyThreadState of 3.13 is. */
typedef struct { PyThreadState base; PyObject *asyncio_running_loop; } tstate_full;
#define TSTATE_FULL 1
#endif

typedef struct {
    uint64_t id; /* asyncio and contextvars cache by it */
    PyObject *dict;
    PyObject *async_exc;
    PyObject *profileobj, *traceobj;
    Py_tracefunc profilefunc, tracefunc;
    PyObject *firstiter, *finalizer; /* sys.set_asyncgen_hooks */
    int origin_tracking;
#ifdef TSTATE_FULL
    PyObject *running_loop, *local_key, *local_sentinel;
#endif
} tstate_part;

static uint64_t tstate_ids = (uint64_t)1 << 40; /* those of real thread states count from 1 */

static void tstate_init(tstate_part *s) {
    memset(s, 0, sizeof *s);
    s->id = tstate_ids++;
}

#define TSTATE_FIELDS(MOVE)                                                                                                          \
    MOVE(id, id) MOVE(dict, dict) MOVE(async_exc, async_exc) MOVE(profileobj, c_profileobj) MOVE(traceobj, c_traceobj)               \
    MOVE(profilefunc, c_profilefunc) MOVE(tracefunc, c_tracefunc) MOVE(firstiter, async_gen_firstiter)                               \
    MOVE(finalizer, async_gen_finalizer) MOVE(origin_tracking, coroutine_origin_tracking_depth)

static void tstate_save(PyThreadState *ts, tstate_part *s) {
#define MOVE(ours, theirs) s->ours = ts->theirs;
    TSTATE_FIELDS(MOVE)
#ifdef TSTATE_FULL
    s->running_loop = ((tstate_full *)ts)->asyncio_running_loop;
    MOVE(local_key, threading_local_key) MOVE(local_sentinel, threading_local_sentinel)
#endif
#undef MOVE
}

static void tstate_load(PyThreadState *ts, tstate_part *s) {
#define MOVE(ours, theirs) ts->theirs = s->ours;
    TSTATE_FIELDS(MOVE)
#ifdef TSTATE_FULL
    ((tstate_full *)ts)->asyncio_running_loop = s->running_loop;
    MOVE(local_key, threading_local_key) MOVE(local_sentinel, threading_local_sentinel)
#endif
#undef MOVE
}

/* In the middle of a switch: nothing here runs the program's code. */
static inline void tstate_swap(tstate_part *before, tstate_part *now, unsigned long ident) {
    PyThreadState *ts = PyThreadState_Get();
    tstate_save(ts, before);
    tstate_load(ts, now);
    ts->thread_id = ident;
    if (now->async_exc) { /* set while another goroutine ran: the interpreter is told now */
        PyObject *exc = ts->async_exc;
        ts->async_exc = NULL;
        PyThreadState_SetAsyncExc(ident, exc);
        Py_DECREF(exc); /* it has another reference now */
    }
}

/* A goroutine begins on this stack.  3.11 notes in a stack's frames whether there is a trace function: for another's perhaps. */
static inline void tstate_begin(void) {
#if PY_VERSION_HEX < 0x030C0000
    PyThreadState *ts = PyThreadState_Get();
    int on = ts->tracing == 0 && (ts->c_tracefunc || ts->c_profilefunc) ? 255 : 0;
    if (ts->cframe->use_tracing != on) ts->cframe->use_tracing = on;
#endif
}

/* Of the one that is loaded, as at the end of a thread: finalizers run, and may park. */
static void tstate_clear(void) {
    PyThreadState *ts = PyThreadState_Get();
    if (ts->c_profilefunc) PyEval_SetProfile(NULL, NULL);
    if (ts->c_tracefunc) PyEval_SetTrace(NULL, NULL);
    Py_CLEAR(ts->dict);
    Py_CLEAR(ts->async_exc);
    Py_CLEAR(ts->async_gen_firstiter);
    Py_CLEAR(ts->async_gen_finalizer);
    ts->coroutine_origin_tracking_depth = 0;
#ifdef TSTATE_FULL
    Py_CLEAR(((tstate_full *)ts)->asyncio_running_loop);
    Py_CLEAR(ts->threading_local_key);
    Py_CLEAR(ts->threading_local_sentinel);
#endif
}

/* Of one that will never be loaded again. */
static void tstate_drop(tstate_part *s) {
    Py_CLEAR(s->dict);
    Py_CLEAR(s->async_exc);
    Py_CLEAR(s->profileobj);
    Py_CLEAR(s->traceobj);
    Py_CLEAR(s->firstiter);
    Py_CLEAR(s->finalizer);
#ifdef TSTATE_FULL
    Py_CLEAR(s->running_loop);
    Py_CLEAR(s->local_key);
    Py_CLEAR(s->local_sentinel);
#endif
}

/* sys.settrace (profile: sys.setprofile) as if the goroutine of s called it, while another one runs.  0, or -1: an exception. */
static int tstate_trace(tstate_part *s, PyObject *set, PyObject *function) {
    PyThreadState *ts = PyThreadState_Get();
    tstate_part mine;
    tstate_save(ts, &mine);
    tstate_load(ts, s);
    PyObject *r = PyObject_CallOneArg(set, function);
    tstate_save(ts, s);
    tstate_load(ts, &mine);
    Py_XDECREF(r);
    return r ? 0 : -1;
}
