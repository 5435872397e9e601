/*
 * A library that makes calls of other modules fail, as shortages and signals do: for the stress of lives.
 *
 * fault_install() puts its own functions into the import tables of the modules that are loaded then, so that
 * no order of preloading matters, and a sanitizer's interceptors are called as before. Each instruction that
 * calls one of FUNCTIONS is a site of its own. What is to fail, and what was called, stands in a file that
 * another process maps as well (`struct board`; faults.py has the same layout). Where no thread is named there, the
 * calls of the main thread, which does nothing but what it is asked to, are neither counted nor do they fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SITES = 512, NAME = 48, MOST_FUNCTIONS = 48, MOST_PATCHES = 1024 };

struct site {
    uintptr_t caller; /* where the call returns to; 0: unused */
    uintptr_t offset; /* the same, from the module's first byte */
    uint64_t calls, failed;
    uint64_t seen; /* calls in this window, */
    uint32_t window;
    int32_t function;
    int32_t named; /* what is to be known of it is written */
    char module[NAME];
};

struct board {
    uint32_t window;                /* its number; 0: all calls go through */
    int32_t each;                   /* the calls of each site are counted by themselves */
    int32_t thread;                 /* only calls of this one (gettid(2)); 0: of all but the main one */
    int32_t errors[MOST_FUNCTIONS]; /* what calls of each function fail with; 0: they go through */
    uint64_t offset;                /* only calls at this offset of a module; 0: anywhere */
    uint64_t after;                 /* so many calls go through at first, */
    uint64_t times;                 /* and so many fail */
    uint64_t called, failed;
    struct site sites[SITES];
};

static struct board *board;

/* The site that returns to there, a new one where there is none; NULL: the table is full. */
static struct site *site_of(int function, const void *caller)
{
    const uintptr_t key = (uintptr_t)caller;

    for (unsigned i = 0; i < SITES; i++) {
        struct site *const site = &board->sites[(key / 4 + i) % SITES];
        uintptr_t found = __atomic_load_n(&site->caller, __ATOMIC_ACQUIRE);
        if (!found && __atomic_compare_exchange_n(&site->caller, &found, key, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            Dl_info info = {0};
            dladdr(caller, &info);
            const char *const name = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
            site->function = function;
            site->offset = key - (uintptr_t)info.dli_fbase;
            strncpy(site->module, name ? name + 1 : "", NAME - 1);
            __atomic_store_n(&site->named, 1, __ATOMIC_RELEASE);
            return site;
        }
        if (found == key || __atomic_load_n(&site->caller, __ATOMIC_ACQUIRE) == key)
            return site;
    }
    return NULL;
}

/* How many calls that could fail came before this one in this window. */
static uint64_t count(uint32_t window, struct site *site)
{
    if (!board->each)
        return __atomic_fetch_add(&board->called, 1, __ATOMIC_RELAXED);
    if (__atomic_exchange_n(&site->window, window, __ATOMIC_RELAXED) != window)
        __atomic_store_n(&site->seen, 0, __ATOMIC_RELAXED);
    return __atomic_fetch_add(&site->seen, 1, __ATOMIC_RELAXED);
}

/* The error that this call fails with, or 0. */
static int judge(int function, const void *caller)
{
    if (!board || (board->thread ? gettid() != board->thread : gettid() == getpid()))
        return 0;
    struct site *const site = site_of(function, caller);
    if (site)
        __atomic_fetch_add(&site->calls, 1, __ATOMIC_RELAXED);
    const uint32_t window = __atomic_load_n(&board->window, __ATOMIC_ACQUIRE);
    const int error = board->errors[function];
    const uintptr_t only = board->offset;
    if (!window || !error || !site || (only && only != site->offset))
        return 0;
    const uint64_t number = count(window, site);
    if (number < board->after || number - board->after >= board->times)
        return 0;
    __atomic_fetch_add(&site->failed, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&board->failed, 1, __ATOMIC_RELAXED);
    return error;
}

/* What getaddrinfo() returns for an error of the system, which is errno's value. */
static int resolver_error(int error)
{
    return error == ENOMEM ? EAI_MEMORY : error == EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
}

/* FUNCTION(type, name, value of a failure, whether this call may fail, parameters, arguments). What no kernel refuses
 * for want of anything goes through: SO_LINGER, EPOLL_CTL_DEL. */
#define ALWAYS true
#define FUNCTIONS \
    FUNCTION(int, accept4, -1, ALWAYS, (int fd, struct sockaddr *at, socklen_t *len, int flags), (fd, at, len, flags)) \
    FUNCTION(int, bind, -1, ALWAYS, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len)) \
    FUNCTION(void *, calloc, NULL, ALWAYS, (size_t count, size_t size), (count, size)) \
    FUNCTION(int, chmod, -1, ALWAYS, (const char *path, mode_t mode), (path, mode)) \
    FUNCTION(int, connect, -1, ALWAYS, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len)) \
    FUNCTION(int, epoll_create1, -1, ALWAYS, (int flags), (flags)) \
    FUNCTION(int, epoll_ctl, -1, what == EPOLL_CTL_ADD, (int epoll, int what, int fd, struct epoll_event *event), \
             (epoll, what, fd, event)) \
    FUNCTION(int, epoll_wait, -1, ALWAYS, (int epoll, struct epoll_event *events, int most, int wait), \
             (epoll, events, most, wait)) \
    FUNCTION(int, eventfd, -1, ALWAYS, (unsigned value, int flags), (value, flags)) \
    FUNCTION(int, fchmod, -1, ALWAYS, (int fd, mode_t mode), (fd, mode)) \
    FUNCTION(int, fcntl, -1, command == F_SETPIPE_SZ, (int fd, int command, long value), (fd, command, value)) \
    FUNCTION(int, fcntl64, -1, command == F_DUPFD_CLOEXEC, (int fd, int command, long value), (fd, command, value)) \
    FUNCTION(int, flock, -1, !(operation & LOCK_UN), (int fd, int operation), (fd, operation)) \
    FUNCTION(int, fstat64, -1, ALWAYS, (int fd, struct stat64 *out), (fd, out)) \
    FUNCTION(int, fstatat64, -1, ALWAYS, (int at, const char *path, struct stat64 *out, int flags), (at, path, out, flags)) \
    FUNCTION(int, getaddrinfo, resolver_error(error), ALWAYS, \
             (const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found), \
             (host, port, hints, found)) \
    FUNCTION(int, getsockname, -1, ALWAYS, (int fd, struct sockaddr *at, socklen_t *len), (fd, at, len)) \
    FUNCTION(int, getsockopt, -1, ALWAYS, (int fd, int level, int name, void *value, socklen_t *len), \
             (fd, level, name, value, len)) \
    FUNCTION(int, listen, -1, ALWAYS, (int fd, int backlog), (fd, backlog)) \
    FUNCTION(void *, malloc, NULL, ALWAYS, (size_t size), (size)) \
    FUNCTION(int, open64, -1, ALWAYS, (const char *path, int flags, mode_t mode), (path, flags, mode)) \
    FUNCTION(int, openat64, -1, ALWAYS, (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode)) \
    FUNCTION(int, pipe2, -1, ALWAYS, (int *ends, int flags), (ends, flags)) \
    FUNCTION(int, poll, -1, ALWAYS, (struct pollfd *fds, nfds_t count, int wait), (fds, count, wait)) \
    FUNCTION(int, ppoll, -1, ALWAYS, (struct pollfd *fds, nfds_t count, const struct timespec *wait, const sigset_t *mask), \
             (fds, count, wait, mask)) \
    FUNCTION(int, pthread_create, error, ALWAYS, \
             (pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *data), (thread, how, start, data)) \
    FUNCTION(void *, realloc, NULL, ALWAYS, (void *old, size_t size), (old, size)) \
    FUNCTION(ssize_t, recv, -1, ALWAYS, (int fd, void *data, size_t size, int flags), (fd, data, size, flags)) \
    FUNCTION(ssize_t, recvfrom, -1, ALWAYS, \
             (int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *len), \
             (fd, data, size, flags, from, len)) \
    FUNCTION(int, recvmmsg, -1, ALWAYS, \
             (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *wait), \
             (fd, messages, count, flags, wait)) \
    FUNCTION(ssize_t, recvmsg, -1, ALWAYS, (int fd, struct msghdr *message, int flags), (fd, message, flags)) \
    FUNCTION(ssize_t, send, -1, ALWAYS, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags)) \
    FUNCTION(int, sendmmsg, -1, ALWAYS, (int fd, struct mmsghdr *messages, unsigned count, int flags), \
             (fd, messages, count, flags)) \
    FUNCTION(ssize_t, sendmsg, -1, ALWAYS, (int fd, const struct msghdr *message, int flags), (fd, message, flags)) \
    FUNCTION(int, setsockopt, -1, level != SOL_SOCKET || name != SO_LINGER, (int fd, int level, int name, const void *value, socklen_t len), \
             (fd, level, name, value, len)) \
    FUNCTION(int, socket, -1, ALWAYS, (int family, int type, int protocol), (family, type, protocol)) \
    FUNCTION(ssize_t, splice, -1, ALWAYS, \
             (int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags), \
             (in, in_at, out, out_at, size, flags)) \
    FUNCTION(ssize_t, write, -1, ALWAYS, (int fd, const void *data, size_t size), (fd, data, size))

enum {
#define FUNCTION(type, name, failure, condition, parameters, arguments) NUMBER_##name,
    FUNCTIONS
#undef FUNCTION
};

struct function {
    const char *name;
    void *ours, *real;
};

#define FUNCTION(type, name, failure, condition, parameters, arguments) static type our_##name parameters;
FUNCTIONS
#undef FUNCTION

static struct function functions[] = {
#define FUNCTION(type, name, failure, condition, parameters, arguments) {#name, (void *)our_##name, NULL},
    FUNCTIONS
#undef FUNCTION
};

enum { COUNT = sizeof functions / sizeof *functions };

#define FUNCTION(type, name, failure, condition, parameters, arguments) \
    static type our_##name parameters \
    { \
        const int error = (condition) ? judge(NUMBER_##name, __builtin_return_address(0)) : 0; \
        if (error) { \
            errno = error; \
            return failure; \
        } \
        return ((type(*) parameters)functions[NUMBER_##name].real)arguments; \
    }
FUNCTIONS
#undef FUNCTION

/* Import tables */

static struct patch {
    void **place;
    void *before;
} patches[MOST_PATCHES];
static unsigned patch_count;

static void patch(void **place, const void *ours)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *const start = (void *)((uintptr_t)place & ~(page - 1));

    /* It may be read-only since the module was loaded; it stays writable. */
    if (patch_count == MOST_PATCHES || mprotect(start, page, PROT_READ | PROT_WRITE) < 0)
        return;
    patches[patch_count++] = (struct patch){place, *place};
    __atomic_store_n(place, (void *)ours, __ATOMIC_RELEASE);
}

/* Undo all that was installed. */
void fault_remove(void)
{
    while (patch_count) {
        const struct patch *const last = &patches[--patch_count];
        __atomic_store_n(last->place, last->before, __ATOMIC_RELEASE);
    }
}

/* Out of memory, the interpreter itself may abort. */
static bool may_fail(const char *function, bool interpreter)
{
    return !interpreter || (strcmp(function, "malloc") && strcmp(function, "calloc") && strcmp(function, "realloc"));
}

static int patch_table(uintptr_t base, const ElfW(Rela) *relocations, size_t size, const ElfW(Sym) *symbols,
                       const char *names, bool interpreter)
{
    int patched = 0;

    for (size_t i = 0; i < size / sizeof *relocations; i++) {
        const char *const name = names + symbols[relocations[i].r_info >> 32].st_name;
        for (int n = 0; n < COUNT; n++)
            if (strcmp(name, functions[n].name) == 0 && may_fail(name, interpreter)) {
                patch((void **)(base + relocations[i].r_offset), functions[n].ours);
                patched++;
            }
    }
    return patched;
}

struct wanted {
    const char *module;
    int patched;
    bool interpreter;
};

static int look_at(struct dl_phdr_info *module, size_t size, void *data)
{
    struct wanted *const wanted = data;
    const ElfW(Dyn) *entry = NULL;
    uintptr_t names = 0, symbols = 0, lazy = 0, eager = 0;
    size_t lazy_size = 0, eager_size = 0;

    (void)size;
    const bool is_it = *wanted->module ? strstr(module->dlpi_name, wanted->module) != NULL : !*module->dlpi_name;
    if (!is_it)
        return 0;
    for (int i = 0; i < module->dlpi_phnum; i++)
        if (module->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const ElfW(Dyn) *)(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr);
    for (; entry && entry->d_tag != DT_NULL; entry++)
        switch (entry->d_tag) {
        case DT_STRTAB: names = entry->d_un.d_ptr; break;
        case DT_SYMTAB: symbols = entry->d_un.d_ptr; break;
        case DT_JMPREL: lazy = entry->d_un.d_ptr; break;
        case DT_PLTRELSZ: lazy_size = entry->d_un.d_val; break;
        case DT_RELA: eager = entry->d_un.d_ptr; break;
        case DT_RELASZ: eager_size = entry->d_un.d_val; break;
        }
    if (names && symbols) {
        wanted->patched += patch_table(module->dlpi_addr, (void *)lazy, lazy_size, (void *)symbols, (void *)names, wanted->interpreter);
        wanted->patched += patch_table(module->dlpi_addr, (void *)eager, eager_size, (void *)symbols, (void *)names, wanted->interpreter);
    }
    return 0;
}

/* The name of a function of this number; NULL: there are no more. */
const char *fault_function(int number)
{
    return number < COUNT ? functions[number].name : NULL;
}

size_t fault_board_size(void)
{
    return sizeof *board;
}

/* Calls of the modules whose path contains this text, or of the executable for an empty one, are counted in a file of
 * fault_board_size() bytes from now on, and fail as that requires; the interpreter's own but for those that allocate. How
 * many imports that were, or -errno. */
int fault_install(const char *path, const char *module, bool interpreter)
{
    struct wanted wanted = {.module = module, .interpreter = interpreter};

    if (!board) {
        const int fd = open(path, O_RDWR | O_CLOEXEC);
        void *const place = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        const int error = errno;
        if (fd >= 0)
            close(fd);
        if (place == MAP_FAILED)
            return -error;
        board = place;
    }
    for (int n = 0; n < COUNT; n++)
        functions[n].real = dlsym(RTLD_DEFAULT, functions[n].name);
    dl_iterate_phdr(look_at, &wanted);
    return wanted.patched;
}
