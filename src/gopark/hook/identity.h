/* Who the interpreter takes the running goroutine for.

   Everything in CPython that belongs to a thread (an RLock, a buffered file that is being used, a module that is being
   imported, what _thread.get_ident says) is told by one number, which comes from one place: libpython's call of pthread_self.
   So that slot is hooked, in the interpreter alone, and all of them tell goroutines apart, whoever made them and when.

   The same number tells CPython whether this is the main thread, where signal handlers (preemption is one) run: it compares it
   with _PyRuntime.main_thread.  Each goroutine must pass for the main thread: on the runtime's thread, which is the main one,
   the hook *returns* that word, and a switch is one store to it.  There is no moment, not even in a signal handler, at which
   the two are different.

   The main goroutine's number is the thread's own, any other's is odd, which no pthread_t is: calls that want a real thread
   (pthread_kill) are given the runtime's for it.

   What must not live here: what else a thread-goroutine has of its own (threads' room). */
#include <signal.h>

static unsigned long *identity_word; /* _PyRuntime.main_thread; the runtime's thread writes it */
static unsigned long identity_main;  /* the main goroutine's number */

static pthread_t h_pthread_self(void) {
    pthread_t self = pthread_self();
    return self == park_thread && identity_word ? (pthread_t)*identity_word : self;
}

static pthread_t identity_thread(pthread_t t) { return (unsigned long)t & 1 ? park_thread : t; }
static int h_pthread_kill(pthread_t t, int signum) { return pthread_kill(identity_thread(t), signum); }
static int h_pthread_getcpuclockid(pthread_t t, clockid_t *clock) { return pthread_getcpuclockid(identity_thread(t), clock); }

/* A thread that blocks signals (multiprocessing's resource sharer does) does it for itself.  A goroutine would for all that share its
   thread, and would take preemption from them; handlers run in the main goroutine, whose mask is the thread's. */
static int h_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    int other = identity_word && pthread_self() == park_thread && *identity_word != identity_main;
    return pthread_sigmask(how, other ? NULL : set, old);
}

static inline void identity_set(unsigned long ident) { __atomic_store_n(identity_word, ident, __ATOMIC_RELAXED); }

/* Find the word, on the main thread: of the words in the interpreter's state that hold its ident, the one that decides whether
   this is the main thread.  No offset is taken from a header, which may be another release's.  0, and identity_word is set. */
static int identity_find(void) {
    int (*is_main)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "_PyOS_IsMainThread");
    void *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    unsigned long self = (unsigned long)pthread_self();
    ElfW(Sym) *symbol = NULL;
    Dl_info info;
    if (identity_word) return 0;
    if (!is_main || !runtime || !is_main() || dladdr1(runtime, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || !symbol) return -1;
    unsigned long *end = (unsigned long *)((char *)runtime + symbol->st_size);
    for (unsigned long *w = runtime; w < end; w++) {
        if (__atomic_load_n(w, __ATOMIC_RELAXED) != self) continue;
        __atomic_store_n(w, self ^ 1, __ATOMIC_SEQ_CST);
        int decides = !is_main();
        __atomic_store_n(w, self, __ATOMIC_SEQ_CST);
        if (decides) {
            identity_main = self;
            identity_word = w;
            return 0;
        }
    }
    return -1;
}

/* In a forked child, before anything of Python's runs there: whoever forked is the main goroutine, and keeps its number: it may
   hold locks. */
static void identity_forked(void) {
    if (identity_word && pthread_equal(pthread_self(), park_thread)) identity_main = *identity_word;
}

static void identity_forget(void) {
    if (identity_word) identity_set((unsigned long)pthread_self());
    identity_word = NULL;
}

static const struct hook identity_hooks[] = {{"pthread_self", h_pthread_self, SLOTS_INTERPRETER},
                                             {"pthread_sigmask", h_pthread_sigmask, SLOTS_INTERPRETER},
                                             {"pthread_kill", h_pthread_kill, SLOTS_INTERPRETER},
                                             {"pthread_getcpuclockid", h_pthread_getcpuclockid, SLOTS_INTERPRETER},
                                             {NULL, NULL}};
