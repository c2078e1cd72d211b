/* Preloaded into a process under test: makes the n-th write or sync below one directory fail or end the process.
 *
 *   fault_arm(prefix, kind, at)   at counts from 1 over writes, or over syncs for the kinds about syncs
 *
 *   1 kill before the write      2 kill in the middle of the write (half of it is done)
 *   3 kill before the sync       4 kill after the sync
 *   5 EIO from the sync          6 EIO from the write
 *   7 from the n-th write on the disk is full: what would make a file longer gets ENOSPC, statvfs says 0 free
 *   8 nothing; fault_writes and fault_syncs count
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

static char prefix[1024];
static int kind, at;
int fault_writes, fault_syncs;

void fault_arm(const char *new_prefix, int new_kind, int new_at) {
    snprintf(prefix, sizeof prefix, "%s", new_prefix);
    kind = new_kind;
    at = new_at;
    fault_writes = fault_syncs = 0;
}

static int concerns(int fd) {
    char link[64], path[1024];
    if (!kind) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static void end(void) { raise(SIGKILL); }

static int grows(int fd, off_t offset, size_t size) {
    struct stat status;
    return fstat(fd, &status) == 0 && offset + (off_t)size > status.st_size;
}

typedef int (*statvfs_type)(const char *, struct statvfs *);
typedef ssize_t (*pwrite_type)(int, const void *, size_t, off_t);
typedef ssize_t (*write_type)(int, const void *, size_t);
typedef int (*sync_type)(int);
typedef int (*allocate_type)(int, off_t, off_t);

static ssize_t at_write(const char *name, int fd, const void *data, size_t size, off_t offset) {
    pwrite_type real = (pwrite_type)dlsym(RTLD_NEXT, name);
    if (!concerns(fd)) return real(fd, data, size, offset);
    fault_writes++;
    if (kind == 7 && fault_writes >= at && grows(fd, offset, size)) { errno = ENOSPC; return -1; }
    if (fault_writes == at) {
        if (kind == 1) end();
        if (kind == 2) { real(fd, data, size / 2, offset); end(); }
        if (kind == 6) { errno = EIO; return -1; }
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return at_write("pwrite", fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return at_write("pwrite64", fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    write_type real = (write_type)dlsym(RTLD_NEXT, "write");
    if (!concerns(fd)) return real(fd, data, size);
    fault_writes++;
    if (kind == 7 && fault_writes >= at) { errno = ENOSPC; return -1; }
    if (fault_writes == at) {
        if (kind == 1) end();
        if (kind == 2) { if (real(fd, data, size / 2) < 0) end(); end(); }
        if (kind == 6) { errno = EIO; return -1; }
    }
    return real(fd, data, size);
}

static int at_sync(const char *name, int fd) {
    sync_type real = (sync_type)dlsym(RTLD_NEXT, name);
    if (!concerns(fd)) return real(fd);
    fault_syncs++;
    if (fault_syncs != at) return real(fd);
    if (kind == 3) end();
    if (kind == 5) { errno = EIO; return -1; }
    int result = real(fd);
    if (kind == 4) end();
    return result;
}

int fsync(int fd) { return at_sync("fsync", fd); }
int fdatasync(int fd) { return at_sync("fdatasync", fd); }

int posix_fallocate(int fd, off_t offset, off_t size) {
    allocate_type real = (allocate_type)dlsym(RTLD_NEXT, "posix_fallocate");
    if (concerns(fd) && kind == 7 && fault_writes >= at && grows(fd, offset, size)) return ENOSPC;
    return real(fd, offset, size);
}
int posix_fallocate64(int fd, off_t offset, off_t size) { return posix_fallocate(fd, offset, size); }

static int full_statvfs(const char *name, const char *path, void *answer) {
    statvfs_type real = (statvfs_type)dlsym(RTLD_NEXT, name);
    struct statvfs *status = answer;
    int result = real(path, status);
    if (!result && kind == 7 && fault_writes >= at) status->f_bavail = status->f_bfree = 0;
    return result;
}
int statvfs(const char *path, struct statvfs *answer) { return full_statvfs("statvfs", path, answer); }
int statvfs64(const char *path, struct statvfs64 *answer) { return full_statvfs("statvfs64", path, answer); }
