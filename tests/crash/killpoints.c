/* Preloaded into the daemon: ends it with SIGKILL at one chosen system call, or writes down all that could be chosen.
 *
 *   KILLPOINTS_TRACE=FILE     append a line "kind n" for each call that counts
 *   KILLPOINT="kind n when"   when: before, half (send and recv only), after
 *
 * The orders are read at the start, and again by `killpoints_read_orders` in a process that forked.
 * Kinds: sync (fsync, fdatasync), connect, send, recv (TCP sockets only), rename. n counts from 1 for each kind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { SYNC, CONNECT, SEND, RECV, RENAME, KINDS };
static const char *names[KINDS] = {"sync", "connect", "send", "recv", "rename"};
static int counts[KINDS];
static int chosen = -1, chosen_n;
static char when[8];
static const char *trace;

__attribute__((constructor)) void killpoints_read_orders(void) {
    char kind[16];
    const char *order = getenv("KILLPOINT");
    chosen = -1;
    memset(counts, 0, sizeof counts);
    trace = getenv("KILLPOINTS_TRACE");
    if (order && sscanf(order, "%15s %d %7s", kind, &chosen_n, when) == 3)
        for (int i = 0; i < KINDS; i++)
            if (!strcmp(kind, names[i])) chosen = i;
}

static void end(void) { raise(SIGKILL); }

/* Counts the call; whether it is the chosen one. */
static int count(int kind) {
    counts[kind]++;
    if (trace) {
        char line[32];
        int fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        int size = snprintf(line, sizeof line, "%s %d\n", names[kind], counts[kind]);
        if (fd >= 0 && write(fd, line, size) == size) close(fd);
    }
    if (kind != chosen || counts[kind] != chosen_n) return 0;
    if (!strcmp(when, "before")) end();
    return 1;
}

static int is_tcp(int fd) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size)) return 0;
    return address.ss_family == AF_INET || address.ss_family == AF_INET6;
}

int fdatasync(int fd) {
    int hit = count(SYNC);
    int result = ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
    if (hit) end();
    return result;
}

int fsync(int fd) {
    int hit = count(SYNC);
    int result = ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
    if (hit) end();
    return result;
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
    int hit = is_tcp(fd) && count(CONNECT);
    int result = ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))(fd, address, size);
    if (hit) end();
    return result;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    if (!is_tcp(fd) || !count(SEND)) return real(fd, data, size, flags);
    real(fd, data, strcmp(when, "half") ? size : size / 2, flags);
    end();
    return -1;
}

ssize_t recv(int fd, void *data, size_t size, int flags) {
    ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    if (!is_tcp(fd)) return real(fd, data, size, flags);
    ssize_t waiting = real(fd, data, size, flags | MSG_PEEK);
    if (waiting <= 0 || !count(RECV)) return real(fd, data, size, flags);
    real(fd, data, strcmp(when, "half") ? size : (size_t)(waiting + 1) / 2, flags);
    end();
    return -1;
}

int rename(const char *from, const char *to) {
    int hit = count(RENAME);
    int result = ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
    if (hit) end();
    return result;
}
