/* What has the runtime's thread in C for 10 ms: noted by sysmon's thread while it lasts, told by whoever asks when it is over
   (hook/blocked.py, which has the Python stack).  Only where it is wanted (the hooks), because it costs sysmon a system call a round.

   Blocked: the thread's CPU clock has stood still for so long, and the kernel says that it is in a system call.  Which library
   made it is read from its stack: the first return address that is neither libc's nor ours.  It may be one that an earlier call has left
   there, so it is a good guess, no more.  Busy: its clock went on, and Python has not answered a request for that long.

   Who writes what: all is sysmon's thread's but ready, which it sets and the runtime's thread clears, and since and what comes
   with it, which sysmon leaves alone while ready is set. */
#ifndef GOPARK_BLOCKED_H
#define GOPARK_BLOCKED_H
#include <sys/uio.h>

#define GOPARK_BLOCKED_NS 10000000
#define GOPARK_BLOCKED_LONG_NS 1000000000

static struct {
    int wanted;
    int ready;            /* there is something to be told */
    int64_t since;        /* the monotonic clock, ns */
    long call;            /* the system call's number */
    char library[96];     /* "" if it is not known */
    uint64_t noted;       /* in which turn that was: the tick */
    uint64_t asked_tick;
    int64_t asked, asked_cpu; /* when Python was last asked, and has not answered yet; 0: not */
    int64_t still, still_cpu; /* since when the thread's CPU clock stands, and where */
    uint64_t tick;        /* of these two */
    int said;             /* that it is very long */
} gopark_blocked;

static int64_t gopark_blocked_cpu(void) {
    clockid_t clock;
    struct timespec ts;
    if (pthread_getcpuclockid(gopark_sysmon.target, &clock) != 0 || clock_gettime(clock, &ts) != 0) return -1;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static const char *gopark_blocked_call(long number) {
    static const struct { long number; const char *name; } names[] = {
        {SYS_read, "read"}, {SYS_write, "write"}, {SYS_pread64, "pread"}, {SYS_pwrite64, "pwrite"}, {SYS_readv, "readv"},
        {SYS_writev, "writev"}, {SYS_ppoll, "ppoll"}, {SYS_pselect6, "select"}, {SYS_epoll_pwait, "epoll_wait"}, {SYS_futex, "futex"},
        {SYS_nanosleep, "nanosleep"}, {SYS_clock_nanosleep, "clock_nanosleep"}, {SYS_fsync, "fsync"}, {SYS_fdatasync, "fdatasync"},
        {SYS_connect, "connect"}, {SYS_accept, "accept"}, {SYS_accept4, "accept4"}, {SYS_recvfrom, "recv"}, {SYS_recvmsg, "recvmsg"},
        {SYS_sendto, "send"}, {SYS_sendmsg, "sendmsg"}, {SYS_wait4, "wait4"}, {SYS_waitid, "waitid"}, {SYS_flock, "flock"},
        {SYS_fcntl, "fcntl"}, {SYS_openat, "open"}, {SYS_ioctl, "ioctl"}, {SYS_msync, "msync"}, {SYS_semtimedop, "semtimedop"},
        {SYS_sendfile, "sendfile"}, {SYS_splice, "splice"}, {SYS_copy_file_range, "copy_file_range"}, {SYS_getdents64, "getdents"},
#ifdef SYS_poll
        {SYS_poll, "poll"}, {SYS_select, "select"}, {SYS_epoll_wait, "epoll_wait"}, {SYS_open, "open"}, {SYS_pause, "pause"},
#endif
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].number == number) return names[i].name;
    return "a system call";
}

struct gopark_blocked_code { uintptr_t address; char name[96]; };

/* Is the address in an object's code?  Its file's name. */
static int gopark_blocked_object(struct dl_phdr_info *info, size_t size, void *data) {
    struct gopark_blocked_code *code = data;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || code->address < start || code->address >= start + p->p_memsz) continue;
        const char *file = strrchr(info->dlpi_name, '/');
        snprintf(code->name, sizeof(code->name), "%s", file ? file + 1 : info->dlpi_name[0] ? info->dlpi_name : "python");
        return 1;
    }
    return 0;
}

/* The library whose code called what blocks. */
static void gopark_blocked_caller(uintptr_t sp) {
    static const char *const not[] = {"libc.so", "libc-", "libpthread", "ld-linux", "linux-vdso", "_hook.", "_sys."};
    uintptr_t words[256];
    struct iovec to = {words, sizeof(words)}, from = {(void *)sp, sizeof(words)};
    ssize_t n = process_vm_readv(getpid(), &to, 1, &from, 1, 0); /* our own: fails where a plain load would crash */
    gopark_blocked.library[0] = 0;
    for (ssize_t i = 0; i < n / (ssize_t)sizeof(words[0]); i++) {
        struct gopark_blocked_code code = {words[i], ""};
        int known = 0;
        if (words[i] < 65536 || !dl_iterate_phdr(gopark_blocked_object, &code)) continue;
        for (size_t k = 0; k < sizeof(not) / sizeof(not[0]); k++) known |= strncmp(code.name, not[k], strlen(not[k])) == 0;
        if (known) continue;
        memcpy(gopark_blocked.library, code.name, sizeof(code.name));
        return;
    }
}

static void gopark_blocked_note(void) {
    char text[256], *at = text;
    int n = (int)pread(gopark_sysmon.status, text, sizeof(text) - 1, 0);
    if (n <= 0 || text[0] < '0' || text[0] > '9') return;
    text[n] = 0;
    long call = strtol(at, &at, 10);
    uintptr_t words[8] = {0};
    for (int i = 0; i < 8; i++) words[i] = (uintptr_t)strtoull(at, &at, 16);
    /* A wait for the GIL: another thread has it. */
    if (call == SYS_futex && words[0] >= gopark_sysmon.runtime && words[0] < gopark_sysmon.runtime_end) return;
    gopark_blocked.call = call;
    gopark_blocked.since = gopark_blocked.still;
    gopark_blocked.noted = gopark_blocked.tick;
    gopark_blocked_caller(words[6]);
    __atomic_store_n(&gopark_blocked.ready, 1, __ATOMIC_RELEASE);
}

/* Sysmon's, in each round in which the same goroutine has the thread. */
static void gopark_blocked_look(int64_t now) {
    int64_t cpu = gopark_blocked_cpu();
    uint64_t tick = GOPARK_LOAD(tick);
    if (cpu != gopark_blocked.still_cpu || tick != gopark_blocked.tick) {
        gopark_blocked.still = now;
        gopark_blocked.still_cpu = cpu;
        gopark_blocked.tick = tick;
        gopark_blocked.said = 0;
        return;
    }
    if (now - gopark_blocked.still < GOPARK_BLOCKED_NS) return;
    if (!__atomic_load_n(&gopark_blocked.ready, __ATOMIC_ACQUIRE)) gopark_blocked_note();
    else if (now - gopark_blocked.still >= GOPARK_BLOCKED_LONG_NS && !gopark_blocked.said) {
        /* It may be for ever.  Said without Python, which may not be to be had. */
        char line[256];
        int n = snprintf(line, sizeof(line), "gopark: every goroutine waits: %s has had the thread for 1 s (called in %s); gopark ps %ld\n",
                         gopark_blocked_call(gopark_blocked.call),
                         gopark_blocked.library[0] ? gopark_blocked.library : "an unknown library", (long)getpid());
        gopark_blocked.said = 1;
        if (write(2, line, n) < 0) return;
    }
}

/* Sysmon's: Python is asked to look. */
static void gopark_blocked_ask(int64_t now) {
    if (gopark_sysmon.requested != 0 && gopark_blocked.asked != 0) return;
    gopark_blocked.asked_cpu = gopark_blocked_cpu();
    gopark_blocked.asked_tick = GOPARK_LOAD(tick);
    __atomic_store_n(&gopark_blocked.asked, now, __ATOMIC_RELEASE);
}

/* The runtime's thread's: Python answers.  0: nothing to tell; 1: it was blocked; 2: it was busy in C.  For so many ns; *gone: the
   goroutine has parked or ended since without a Python instruction, and another one is looked at. */
static int gopark_blocked_take(int64_t *ns, int *gone) {
    int64_t now = gopark_sysmon_now(), asked = __atomic_load_n(&gopark_blocked.asked, __ATOMIC_ACQUIRE);
    gopark_blocked.asked = 0;
    if (__atomic_load_n(&gopark_blocked.ready, __ATOMIC_ACQUIRE)) {
        *ns = now - gopark_blocked.since;
        *gone = gopark_blocked.noted != gopark_sysmon.tick;
        return 1;
    }
    int64_t cpu = asked && gopark_blocked.asked_tick == gopark_sysmon.tick ? gopark_blocked_cpu() - gopark_blocked.asked_cpu : 0;
    *ns = now - asked;
    return cpu >= GOPARK_BLOCKED_NS ? 2 : 0;
}
#endif
