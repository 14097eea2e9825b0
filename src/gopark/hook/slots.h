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
static const struct hook *const *slots_rooms(void); /* rooms.h */

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

struct slot { ElfW(Addr) base; void **where; void *before; const char *name; char *object; };

static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER; /* held for no foreign code, and never while parking */
static struct slot *slots;
static size_t slots_count, slots_room;
static char **slots_wanted; /* parts of objects' file names; "" the program itself */
static size_t slots_wanted_count;
static int slots_on, slots_failed; /* errno of the first failure */

/* What is called so in this object; its file name, "" for the program itself. */
static const struct hook *slots_find(const char *name, const char *object) {
    const char *file = strrchr(object, '/');
    file = file ? file + 1 : object;
    for (const struct hook *const *room = slots_rooms(); *room; room++)
        for (const struct hook *h = *room; h->name; h++)
            if (strcmp(h->name, name) == 0 &&
                (!h->only || strncmp(file, h->only, strlen(h->only)) == 0 ||
                 (object[0] == 0 && strcmp(h->only, SLOTS_INTERPRETER) == 0)))
                return h;
    return NULL;
}

static int slots_want(const char *object) {
    const char *file = strrchr(object, '/');
    file = file ? file + 1 : object;
    for (size_t i = 0; i < slots_wanted_count; i++) {
        const char *part = slots_wanted[i];
        if (part[0] == 0 ? object[0] == 0 : strncmp(file, part, strlen(part)) == 0) return 1;
    }
    return 0;
}

static int slots_store(void **where, void *function, ElfW(Addr) relro, ElfW(Addr) relro_end) {
    ElfW(Addr) page = sysconf(_SC_PAGESIZE), at = (ElfW(Addr))where & ~(page - 1);
    int sealed = (ElfW(Addr))where >= relro && (ElfW(Addr))where < relro_end;
    if (sealed && mprotect((void *)at, page, PROT_READ | PROT_WRITE) != 0) return errno;
    __atomic_store_n(where, function, __ATOMIC_RELEASE);
    if (sealed && mprotect((void *)at, page, PROT_READ) != 0) return errno;
    return 0;
}

static int slots_remember(ElfW(Addr) base, void **where, const char *name, const char *object) {
    if (slots_count == slots_room) {
        size_t room = slots_room ? 2 * slots_room : 256;
        struct slot *more = realloc(slots, room * sizeof *more);
        if (!more) return ENOMEM;
        slots = more;
        slots_room = room;
    }
    char *copy = strdup(object[0] ? object : "(the program)");
    if (!copy) return ENOMEM;
    slots[slots_count++] = (struct slot){base, where, *where, name, copy};
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

static void slots_table(struct dl_phdr_info *info, struct slots_object *o, ElfW(Rela) *table, size_t count, ElfW(Sym) *symbols,
                        const char *strings) {
    for (size_t i = 0; table && i < count; i++) {
        unsigned type = ELF64_R_TYPE(table[i].r_info);
        if (type != SLOT_JUMP && type != SLOT_DATA) continue;
        const struct hook *h = slots_find(strings + symbols[ELF64_R_SYM(table[i].r_info)].st_name, info->dlpi_name);
        if (!h) continue;
        void **where = (void **)(info->dlpi_addr + table[i].r_offset);
        if (*where == h->function) continue;
        int err = slots_remember(info->dlpi_addr, where, h->name, info->dlpi_name);
        if (!err) err = slots_store(where, h->function, o->relro, o->relro_end);
        if (err && !slots_failed) slots_failed = err;
    }
}

/* The dynamic section's tables of one object. */
static int slots_visit(struct dl_phdr_info *info, size_t size, void *data) {
    const char *name = info->dlpi_name ? info->dlpi_name : "";
    if (!slots_want(name)) return 0;
    struct slots_object o = slots_segments(info);
    ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    ElfW(Rela) *jumps = NULL, *data_ = NULL;
    size_t njumps = 0, ndata = 0;
    for (ElfW(Dyn) *d = o.dynamic; d && d->d_tag != DT_NULL; d++) switch (d->d_tag) {
        case DT_SYMTAB: symbols = (void *)d->d_un.d_ptr; break;
        case DT_STRTAB: strings = (void *)d->d_un.d_ptr; break;
        case DT_JMPREL: jumps = (void *)d->d_un.d_ptr; break;
        case DT_PLTRELSZ: njumps = d->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_RELA: data_ = (void *)d->d_un.d_ptr; break;
        case DT_RELASZ: ndata = d->d_un.d_val / sizeof(ElfW(Rela)); break;
    }
    if (!symbols || !strings) return 0;
    slots_table(info, &o, jumps, njumps, symbols, strings);
    slots_table(info, &o, data_, ndata, symbols, strings);
    return 0;
}

/* Hook what is loaded and not hooked yet; 0 or an errno. */
static int slots_scan(void) {
    pthread_mutex_lock(&slots_mutex);
    slots_failed = 0;
    if (slots_on) dl_iterate_phdr(slots_visit, NULL);
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
        const struct hook *h = slots_find(s->name, info->dlpi_name);
        if (h && *s->where == h->function) { /* else somebody else has put something of theirs there since */
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
    dl_iterate_phdr(slots_unvisit, NULL);
    for (size_t i = 0; i < slots_count; i++) free(slots[i].object);
    slots_count = 0;
    int err = slots_failed;
    pthread_mutex_unlock(&slots_mutex);
    return err;
}

/* Objects whose file name begins with one of these are hooked from now on; ENOMEM or 0. */
static int slots_add_wanted(const char *part) {
    pthread_mutex_lock(&slots_mutex);
    char **more = realloc(slots_wanted, (slots_wanted_count + 1) * sizeof *more), *copy = strdup(part);
    if (more) slots_wanted = more;
    if (more && copy) slots_wanted[slots_wanted_count++] = copy;
    int err = more && copy ? 0 : ENOMEM;
    slots_on = 1;
    pthread_mutex_unlock(&slots_mutex);
    return err;
}

static void slots_forget_wanted(void) {
    pthread_mutex_lock(&slots_mutex);
    while (slots_wanted_count) free(slots_wanted[--slots_wanted_count]);
    pthread_mutex_unlock(&slots_mutex);
}

/* Libraries that are loaded later. */
static void *h_dlopen(const char *file, int mode) {
    void *handle = dlopen(file, mode);
    if (handle && slots_on) {
        int e = errno;
        slots_scan();
        errno = e;
    }
    return handle;
}
static const struct hook slots_hooks[] = {{"dlopen", h_dlopen}, {NULL, NULL}};
