/* Named C functions whose calls are made on a thread of the pool: gopark.offload.

   Whoever calls such a function has its address in a slot; the slot gets the address of a trampoline of ours.  It forwards six words
   and returns one: arguments and a result that are integers or pointers, as x86-64 and aarch64 pass them in registers.  A function
   with fewer gets words that it does not look at.

   While the call runs elsewhere, the caller is parked, and its part of the C stack is another goroutine's.  So a word that points into
   it points to a copy during the call, and the bytes that the call has changed there are taken over when it is back.  (How many
   arguments there are is not known: a word that is none may look like one, and then nothing is changed.)  What cannot be seen
   is memory there that points there in turn (an array of buffers), or that is still used after the call: docs/run.md says so.

   Which object a slot's call goes to is asked of the loader, for slots that it has not filled yet, and outside of its own walk over the objects,
   whose lock must not be held then. */
#define OFFLOADS 64
typedef long offload_function(long, long, long, long, long, long);
struct offload_wish { char *library, *name; };
struct offload { offload_function *target; struct hook hook; int on; }; /* one wish may be several: a library that is there twice */
struct offload_object { char *name; ElfW(Addr) base; const struct offload_wish *wish; };
struct offload_slot { char *object; ElfW(Addr) base, relro, relro_end; void **where; int which; };

static pthread_mutex_t offload_mutex = PTHREAD_MUTEX_INITIALIZER; /* of what follows, but for offloads, which only grows */
static struct offload_wish offload_wishes[OFFLOADS];
static int offload_wishes_count;
static struct offload_object offload_objects[OFFLOADS];
static int offload_objects_count;
static struct offload_slot *offload_slots;
static size_t offload_slots_count;
static int offload_failed;

static struct offload offloads[OFFLOADS];
static volatile int offloads_count;
static long offload_calls, offload_copies; /* made on the pool; with a copy of the stack */

/* -- a call ----------------------------------------------------------------------------------------------------------------- */

enum { OFFLOAD_NEW, OFFLOAD_RUNS, OFFLOAD_OVER };
struct offload_call { offload_function *target; long a[6], result; int error, state; };

static void offload_run(void *arg) {
    struct offload_call *c = arg;
    int new = OFFLOAD_NEW;
    if (!__atomic_compare_exchange_n(&c->state, &new, OFFLOAD_RUNS, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
    errno = c->error;
    c->result = c->target(c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);
    c->error = errno;
    __atomic_store_n(&c->state, OFFLOAD_OVER, __ATOMIC_SEQ_CST);
}

static char *stack_base; /* the other end of the runtime's thread's stack */
static void offload_measure(void) {
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) return;
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    stack_base = (char *)low + size;
}

/* The part of the stack, from *low* on, that words of the call point to: as the call sees it, and as it was. */
struct offload_copy { char *low, *seen, *was; size_t size; };

/* 0: no memory. */
static int offload_copy_in(struct offload_copy *copy, long *words, char *frame) {
    copy->low = stack_base;
    for (int i = 0; i < 6; i++)
        if ((char *)words[i] >= frame && (char *)words[i] < copy->low) copy->low = (char *)words[i];
    if ((copy->size = stack_base - copy->low) == 0) return 1;
    copy->seen = malloc(copy->size);
    copy->was = malloc(copy->size);
    if (!copy->seen || !copy->was) return 0;
    memcpy(copy->seen, copy->low, copy->size);
    memcpy(copy->was, copy->low, copy->size);
    for (int i = 0; i < 6; i++)
        if ((char *)words[i] >= frame && (char *)words[i] < stack_base) words[i] = (long)(copy->seen + ((char *)words[i] - copy->low));
    offload_copies++;
    return 1;
}

static long offload_copy_out(struct offload_copy *copy, long result) {
    for (size_t i = 0; i < copy->size; i++)
        if (copy->seen[i] != copy->was[i]) copy->low[i] = copy->seen[i];
    if ((char *)result >= copy->seen && (char *)result < copy->seen + copy->size)
        result = (long)(copy->low + ((char *)result - copy->seen));
    return result;
}

static void offload_free(struct offload_copy *copy, struct offload_call *call) {
    free(copy->seen);
    free(copy->was);
    free(call);
}

__attribute__((noinline)) static long offload_make(int which, long a, long b, long c, long d, long e, long f) {
    offload_function *target = offloads[which].target;
    if (!on_runtime() || !offloads[which].on) return target(a, b, c, d, e, f);
    int before = errno;
    struct offload_copy copy = {0};
    struct offload_call *call = calloc(1, sizeof *call);
    if (call) *call = (struct offload_call){target, {a, b, c, d, e, f}, 0, before, OFFLOAD_NEW};
    if (!call || !offload_copy_in(&copy, call->a, __builtin_frame_address(0))) {
        offload_free(&copy, call);
        errno = before;
        return target(a, b, c, d, e, f);
    }
    int parked = park_call(offload_run, call) == PARK_READY;
    offload_calls += parked;
    offload_run(call); /* if nobody could */
    while (__atomic_load_n(&call->state, __ATOMIC_SEQ_CST) != OFFLOAD_OVER) { /* the park was cut off: it must be over all the same */
        struct timespec nap = {0, 1000000};
        nanosleep(&nap, NULL);
    }
    long result = offload_copy_out(&copy, call->result);
    int error = call->error;
    offload_free(&copy, parked ? call : NULL); /* else a thread may still come to it, and see that it is over */
    errno = error;
    return result;
}

/* Sixty-four trampolines, numbered in octal. */
#define O1(i) static long offload_##i(long a, long b, long c, long d, long e, long f) { return offload_make(0##i, a, b, c, d, e, f); }
#define O8(i) O1(i##0) O1(i##1) O1(i##2) O1(i##3) O1(i##4) O1(i##5) O1(i##6) O1(i##7)
#define N8(i) offload_##i##0, offload_##i##1, offload_##i##2, offload_##i##3, offload_##i##4, offload_##i##5, offload_##i##6, offload_##i##7
O8(0) O8(1) O8(2) O8(3) O8(4) O8(5) O8(6) O8(7)
static offload_function *const offload_trampolines[OFFLOADS] = {N8(0), N8(1), N8(2), N8(3), N8(4), N8(5), N8(6), N8(7)};

/* -- which function, and who calls it --------------------------------------------------------------------------------------- */

static int offload_visit_objects(struct dl_phdr_info *info, size_t size, void *data) {
    const char *name = info->dlpi_name ? info->dlpi_name : "";
    for (int i = 0; i < offload_wishes_count; i++) {
        const struct offload_wish *wish = &offload_wishes[i];
        if (!slots_match(name, wish->library) || offload_objects_count == OFFLOADS) continue;
        char *copy = strdup(name);
        if (copy) offload_objects[offload_objects_count++] = (struct offload_object){copy, info->dlpi_addr, wish};
        else offload_failed = ENOMEM;
    }
    return 0;
}

/* The address of a function as that object sees it, or has it itself. */
static void *offload_symbol(const char *object, const char *name) {
    void *handle = dlopen(object[0] ? object : NULL, RTLD_LAZY | RTLD_NOLOAD), *found = handle ? dlsym(handle, name) : NULL;
    if (handle) dlclose(handle);
    return found;
}

static void offload_resolve(struct offload_object *o) {
    Dl_info info;
    void *found = offload_symbol(o->name, o->wish->name);
    if (!found || !dladdr(found, &info) || strcmp(info.dli_fname, o->name) != 0) return; /* it is another's */
    for (int i = 0; i < offloads_count; i++)
        if ((void *)offloads[i].target == found) {
            offloads[i].on = 1;
            return;
        }
    if (offloads_count == OFFLOADS) {
        offload_failed = ENOSPC;
        return;
    }
    int n = offloads_count;
    offloads[n] = (struct offload){(offload_function *)found, {o->wish->name, (void *)offload_trampolines[n]}, 1};
    __atomic_store_n(&offloads_count, n + 1, __ATOMIC_RELEASE);
}

static void offload_seen(struct dl_phdr_info *info, struct slots_object *o, const char *symbol, void **where, int kind) {
    for (int i = 0; i < offloads_count; i++) {
        if (!offloads[i].on || strcmp(symbol, offloads[i].hook.name) != 0 || *where == offloads[i].hook.function) continue;
        struct offload_slot *more = realloc(offload_slots, (offload_slots_count + 1) * sizeof *more);
        char *copy = strdup(info->dlpi_name ? info->dlpi_name : "");
        if (more) offload_slots = more;
        if (more && copy) more[offload_slots_count++] = (struct offload_slot){copy, info->dlpi_addr, o->relro, o->relro_end, where, i};
        else offload_failed = ENOMEM;
    }
}

static int offload_visit(struct dl_phdr_info *info, size_t size, void *data) {
    slots_each(info, SLOTS_PLAIN, offload_seen);
    return 0;
}

/* Does a call through this slot go to the function, or will it when the loader has filled the slot? */
static int offload_goes(struct offload_slot *s) {
    void *target = (void *)offloads[s->which].target, *now = *s->where;
    const char *name = offloads[s->which].hook.name;
    Dl_info info;
    if (now == target) return 1;
    if (!dladdr(now, &info) || (ElfW(Addr))info.dli_fbase != s->base) {
        if (s->base != 0 || s->object[0]) return 0; /* (a program that is not relocatable: its base is 0) */
    }
    void *first = dlsym(RTLD_DEFAULT, name);
    return (first ? first : offload_symbol(s->object, name)) == target;
}

static int offload_scan(void) {
    if (offload_wishes_count == 0) return 0;
    pthread_mutex_lock(&offload_mutex);
    offload_failed = 0;
    dl_iterate_phdr(offload_visit_objects, NULL);
    while (offload_objects_count) {
        struct offload_object *o = &offload_objects[--offload_objects_count];
        offload_resolve(o);
        free(o->name);
    }
    dl_iterate_phdr(offload_visit, NULL);
    while (offload_slots_count) {
        struct offload_slot *s = &offload_slots[--offload_slots_count];
        const struct hook *h = &offloads[s->which].hook;
        if (offload_goes(s)) {
            pthread_mutex_lock(&slots_mutex);
            int err = slots_remember(s->base, s->where, h, s->object);
            if (!err) err = slots_store(s->where, h->function, s->relro, s->relro_end);
            if (err && !offload_failed) offload_failed = err;
            pthread_mutex_unlock(&slots_mutex);
        }
        free(s->object);
    }
    int err = offload_failed;
    pthread_mutex_unlock(&offload_mutex);
    return err;
}

/* Have calls of *name* in the objects whose file names begin with *library* made elsewhere; an errno or 0. */
static int offload_add(const char *library, const char *name) {
    pthread_mutex_lock(&offload_mutex);
    char *a = strdup(library), *b = strdup(name);
    int err = offload_wishes_count == OFFLOADS ? ENOSPC : a && b ? 0 : ENOMEM;
    if (!err) offload_wishes[offload_wishes_count++] = (struct offload_wish){a, b};
    pthread_mutex_unlock(&offload_mutex);
    return err ? err : offload_scan();
}

static int offload_visit_loaded(struct dl_phdr_info *info, size_t size, void *data) {
    return slots_match(info->dlpi_name ? info->dlpi_name : "", data);
}
static int offload_loaded(const char *library) { return dl_iterate_phdr(offload_visit_loaded, (void *)library); }

static void offload_forget(void) {
    pthread_mutex_lock(&offload_mutex);
    while (offload_wishes_count) free(offload_wishes[--offload_wishes_count].library);
    /* Names and trampolines stay: ctypes may have the address of one, and is forwarded. */
    for (int i = 0; i < offloads_count; i++) offloads[i].on = 0;
    pthread_mutex_unlock(&offload_mutex);
}

static int offload_has(const char *name) {
    for (int i = 0; i < offloads_count; i++)
        if (offloads[i].on && strcmp(offloads[i].hook.name, name) == 0) return 1;
    return 0;
}

/* What ctypes and cffi look up. */
static void *h_dlsym(void *handle, const char *name) {
    void *found = dlsym(handle, name);
    if (park_on && found == (void *)PyThreadState_SetAsyncExc) return (void *)h_PyThreadState_SetAsyncExc; /* through ctypes, mostly */
    int n = __atomic_load_n(&offloads_count, __ATOMIC_ACQUIRE);
    for (int i = 0; i < n && found && park_on; i++)
        if (offloads[i].on && (void *)offloads[i].target == found) return offloads[i].hook.function;
    return found;
}
static const struct hook offload_hooks[] = {{"dlsym", h_dlsym}, {NULL, NULL}};
