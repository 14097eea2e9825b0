/* GOT slots: where a loaded object keeps the address of a function that it calls in another one.  Found, replaced, put back, listed.

   A slot is one pointer, written with one atomic store: a thread that calls through it at that moment gets the one function or the
   other, and both do the same.  Nothing of the object's code or of the function's is changed.

   What must not live here: what the functions do (the rooms' own files), which objects are hooked (hook/__init__.py).

   Records are made once a slot and never freed while patched; a library that has been unloaded since is told from one that is
   still there by its load address, before its slots are put back. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* only: NULL: wherever it is called; else in objects whose file names begin so, or in the interpreter. */
struct hook { const char *name; void *function; const char *only; };
#define SLOTS_INTERPRETER "libpython3" /* or the program itself, where that is linked into it */
static const struct hook *const *slots_rooms(void);          /* rooms.h */
static const struct hook *slots_mutexes(int kind);           /* mutexes.h */

/* How an object is treated: what every object gets; and for libraries that have mutexes of their own, one of two (mutexes.h). */
enum { SLOTS_NOT = -1, SLOTS_PLAIN = 0, SLOTS_COUNTED = 1, SLOTS_SHARED = 2 };

#if defined(__x86_64__)
#define SLOTS_KNOWN 1
#define SLOT_JUMP R_X86_64_JUMP_SLOT
#define SLOT_DATA R_X86_64_GLOB_DAT
#elif defined(__aarch64__)
#define SLOTS_KNOWN 1
#define SLOT_JUMP R_AARCH64_JUMP_SLOT
#define SLOT_DATA R_AARCH64_GLOB_DAT
#else
#define SLOTS_KNOWN 0
#define SLOT_JUMP 0
#define SLOT_DATA 0
#endif

struct slot { ElfW(Addr) base; void **where; void *before, *function; const char *name; char *object; };
struct wanted { char *part; int kind; };

static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER; /* held for no foreign code, and never while parking */
static struct slot *slots;
static size_t slots_count, slots_room;
static struct wanted *slots_wanted; /* how objects' file names begin; "" the program itself; with a / in it: from a folder on */
static size_t slots_wanted_count;
static int slots_on, slots_failed; /* errno of the first failure */

/* What is called so in this object; its file name, "" for the program itself. */
static const struct hook *slots_find(const char *name, const char *object, int kind) {
    const char *file = strrchr(object, '/');
    file = file ? file + 1 : object;
    for (const struct hook *const *room = slots_rooms(); *room; room++)
        for (const struct hook *h = *room; h->name; h++)
            if (strcmp(h->name, name) == 0 &&
                (!h->only || strncmp(file, h->only, strlen(h->only)) == 0 ||
                 (object[0] == 0 && strcmp(h->only, SLOTS_INTERPRETER) == 0)))
                return h;
    for (const struct hook *h = slots_mutexes(kind); h && h->name; h++)
        if (strcmp(h->name, name) == 0) return h;
    return NULL;
}

/* Does an object's file name begin so? */
static int slots_match(const char *object, const char *part) {
    const char *file = strrchr(object, '/');
    file = file ? file + 1 : object;
    if (part[0] == 0) return object[0] == 0;
    if (!strchr(part, '/')) return strncmp(file, part, strlen(part)) == 0;
    for (const char *at = object; (at = strstr(at, part)); at++)
        if (at == object || at[-1] == '/') return 1;
    return 0;
}

static int slots_want(const char *object) {
    int kind = SLOTS_NOT;
    for (size_t i = 0; i < slots_wanted_count; i++)
        if (slots_wanted[i].kind > kind && slots_match(object, slots_wanted[i].part)) kind = slots_wanted[i].kind;
    return kind;
}

static int slots_store(void **where, void *function, ElfW(Addr) relro, ElfW(Addr) relro_end) {
    ElfW(Addr) page = sysconf(_SC_PAGESIZE), at = (ElfW(Addr))where & ~(page - 1);
    int sealed = (ElfW(Addr))where >= relro && (ElfW(Addr))where < relro_end;
    if (sealed && mprotect((void *)at, page, PROT_READ | PROT_WRITE) != 0) return errno;
    __atomic_store_n(where, function, __ATOMIC_RELEASE);
    if (sealed && mprotect((void *)at, page, PROT_READ) != 0) return errno;
    return 0;
}

static int slots_remember(ElfW(Addr) base, void **where, const struct hook *h, const char *object) {
    if (slots_count == slots_room) {
        size_t room = slots_room ? 2 * slots_room : 256;
        struct slot *more = realloc(slots, room * sizeof *more);
        if (!more) return ENOMEM;
        slots = more;
        slots_room = room;
    }
    char *copy = strdup(object[0] ? object : "(the program)");
    if (!copy) return ENOMEM;
    slots[slots_count++] = (struct slot){base, where, *where, h->function, h->name, copy};
    return 0;
}

struct slots_object { ElfW(Dyn) *dynamic; ElfW(Addr) relro, relro_end; };

static struct slots_object slots_segments(struct dl_phdr_info *info) {
    struct slots_object o = {NULL, 0, 0};
    ElfW(Addr) page = sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_DYNAMIC) o.dynamic = (void *)(info->dlpi_addr + p->p_vaddr);
        if (p->p_type == PT_GNU_RELRO) { /* the loader seals whole pages */
            o.relro = (info->dlpi_addr + p->p_vaddr) & ~(page - 1);
            o.relro_end = (info->dlpi_addr + p->p_vaddr + p->p_memsz) & ~(page - 1);
        }
    }
    return o;
}

/* Is called for each slot of an object. */
typedef void slots_seen(struct dl_phdr_info *info, struct slots_object *o, const char *symbol, void **where, int kind);

static void slots_table(struct dl_phdr_info *info, struct slots_object *o, ElfW(Rela) *table, size_t count, ElfW(Sym) *symbols,
                        const char *strings, int kind, slots_seen *seen) {
    for (size_t i = 0; table && i < count; i++) {
        unsigned type = ELF64_R_TYPE(table[i].r_info);
        if (type != SLOT_JUMP && type != SLOT_DATA) continue;
        seen(info, o, strings + symbols[ELF64_R_SYM(table[i].r_info)].st_name, (void **)(info->dlpi_addr + table[i].r_offset), kind);
    }
}

/* The dynamic section's tables of one object. */
static void slots_each(struct dl_phdr_info *info, int kind, slots_seen *seen) {
    struct slots_object o = slots_segments(info);
    ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    ElfW(Rela) *jumps = NULL, *data = NULL;
    size_t njumps = 0, ndata = 0;
    for (ElfW(Dyn) *d = o.dynamic; d && d->d_tag != DT_NULL; d++) switch (d->d_tag) {
        case DT_SYMTAB: symbols = (void *)d->d_un.d_ptr; break;
        case DT_STRTAB: strings = (void *)d->d_un.d_ptr; break;
        case DT_JMPREL: jumps = (void *)d->d_un.d_ptr; break;
        case DT_PLTRELSZ: njumps = d->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_RELA: data = (void *)d->d_un.d_ptr; break;
        case DT_RELASZ: ndata = d->d_un.d_val / sizeof(ElfW(Rela)); break;
    }
    if (!symbols || !strings) return;
    slots_table(info, &o, jumps, njumps, symbols, strings, kind, seen);
    slots_table(info, &o, data, ndata, symbols, strings, kind, seen);
}

static void slots_replace(struct dl_phdr_info *info, struct slots_object *o, void **where, const struct hook *h) {
    if (*where == h->function) return;
    int err = slots_remember(info->dlpi_addr, where, h, info->dlpi_name);
    if (!err) err = slots_store(where, h->function, o->relro, o->relro_end);
    if (err && !slots_failed) slots_failed = err;
}

static void slots_hook_one(struct dl_phdr_info *info, struct slots_object *o, const char *symbol, void **where, int kind) {
    const struct hook *h = slots_find(symbol, info->dlpi_name, kind);
    if (h) slots_replace(info, o, where, h);
}

/* What the last scan has seen.  A program opens libraries by the hundred, and most of the time none is new: as long as none has been
   unloaded, what has been loaded since stands behind the others in the loader's list. */
static unsigned long long slots_adds, slots_subs; /* how many objects were ever loaded, and unloaded */
static size_t slots_scanned;                      /* objects; 0: scan all */

static int slots_visit(struct dl_phdr_info *info, size_t size, void *data) {
    size_t *at = data;
    if (*at == 0) {
        if (slots_scanned && info->dlpi_adds == slots_adds && info->dlpi_subs == slots_subs) return 1;
        if (info->dlpi_subs != slots_subs) slots_scanned = 0;
        slots_adds = info->dlpi_adds;
        slots_subs = info->dlpi_subs;
    }
    if ((*at)++ < slots_scanned) return 0;
    int kind = slots_want(info->dlpi_name ? info->dlpi_name : "");
    if (kind != SLOTS_NOT) slots_each(info, kind, slots_hook_one);
    return 0;
}

/* Hook what is loaded and not hooked yet; 0 or an errno. */
static int slots_scan(void) {
    size_t seen = 0;
    pthread_mutex_lock(&slots_mutex);
    slots_failed = 0;
    if (slots_on && dl_iterate_phdr(slots_visit, &seen) == 0) slots_scanned = slots_failed ? 0 : seen;
    int err = slots_failed;
    pthread_mutex_unlock(&slots_mutex);
    return err;
}

static int slots_unvisit(struct dl_phdr_info *info, size_t size, void *data) {
    struct slots_object o = slots_segments(info);
    const char *name = info->dlpi_name && info->dlpi_name[0] ? info->dlpi_name : "(the program)";
    for (size_t i = 0; i < slots_count; i++) {
        struct slot *s = &slots[i];
        if (!s->where || s->base != info->dlpi_addr || strcmp(s->object, name) != 0) continue;
        if (*s->where == s->function) { /* else somebody else has put something of theirs there since */
            int err = slots_store(s->where, s->before, o.relro, o.relro_end);
            if (err && !slots_failed) slots_failed = err;
        }
        s->where = NULL;
    }
    return 0;
}

/* Put every slot back; 0 or an errno. */
static int slots_restore(void) {
    pthread_mutex_lock(&slots_mutex);
    slots_on = slots_failed = 0;
    slots_scanned = 0;
    dl_iterate_phdr(slots_unvisit, NULL);
    for (size_t i = 0; i < slots_count; i++) free(slots[i].object);
    slots_count = 0;
    int err = slots_failed;
    pthread_mutex_unlock(&slots_mutex);
    return err;
}

/* Objects whose file name begins so are hooked from now on; ENOMEM or 0. */
static int slots_add_wanted(const char *part, int kind) {
    pthread_mutex_lock(&slots_mutex);
    struct wanted *more = realloc(slots_wanted, (slots_wanted_count + 1) * sizeof *more);
    char *copy = strdup(part);
    if (more) slots_wanted = more;
    if (more && copy) slots_wanted[slots_wanted_count++] = (struct wanted){copy, kind};
    int err = more && copy ? 0 : ENOMEM;
    slots_on = 1;
    slots_scanned = 0; /* what was not wanted may be now */
    pthread_mutex_unlock(&slots_mutex);
    return err;
}

static void slots_forget_wanted(void) {
    pthread_mutex_lock(&slots_mutex);
    while (slots_wanted_count) free(slots_wanted[--slots_wanted_count].part);
    pthread_mutex_unlock(&slots_mutex);
}

static int offload_scan(void); /* offload.h */

/* Libraries that are loaded later. */
static void *h_dlopen(const char *file, int mode) {
    void *handle = dlopen(file, mode);
    if (handle && slots_on) {
        int e = errno;
        slots_scan();
        offload_scan();
        errno = e;
    }
    return handle;
}
static const struct hook slots_hooks[] = {{"dlopen", h_dlopen}, {NULL, NULL}};
