/* Every room of hooks, in one list. */
#include "slots.h"
#include "park.h"
#include "sockets.h"
#include "files.h"
#include "waiting.h"
#include "sleep.h"

static const struct hook *const rooms[] = {slots_hooks, sockets_hooks, files_hooks, waiting_hooks, sleep_hooks, NULL};

static const struct hook *const *slots_rooms(void) { return rooms; }
