/* Every room of hooks, in one list. */
#include "slots.h"
#include "park.h"
#include "identity.h"
#include "tstate.h"
#include "threads.h"
#include "locks.h"
#include "parkinglot.h"
#include "methods.h"
#include "signals.h"
#include "descriptors.h"
#include "sockets.h"
#include "files.h"
#include "waiting.h"
#include "children.h"
#include "sleep.h"
#include "names.h"
#include "fork.h"
#include "mutexes.h"
#include "offload.h"

static const struct hook *const rooms[] = {
    slots_hooks,
    identity_hooks,
    threads_hooks,
    locks_hooks,
    lot_hooks,
    sockets_hooks,
    files_hooks,
    waiting_hooks,
    children_hooks,
    sleep_hooks,
    names_hooks,
    offload_hooks,
    fork_hooks,
    NULL,
};

static const struct hook *const *slots_rooms(void) { return rooms; }
