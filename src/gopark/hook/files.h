/* Descriptors of every kind: read, write, close and what changes what a descriptor is.

   A regular file never parks: the kernel does not say when it is ready. */
static void descriptor_closing(int fd); /* descriptors.pxi; the GIL is held */

static int h_close(int fd) {
    struct python p;
    if (on_runtime() && fd >= 0 && python_enter(&p)) {
        descriptor_closing(fd);
        python_leave(&p);
    }
    return close(fd);
}
static const struct hook files_hooks[] = {{"close", h_close}, {NULL, NULL}};
