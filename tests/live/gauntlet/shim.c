/* Counts a process's file-system calls below some folders, and fails or kills at those that the test chooses.
 *
 * LD_PRELOAD this library. SHIM_CONTROL names a file of sizeof(struct control) bytes that the test and all processes
 * map: the test arms the shim by writing into it, without a system call of the process. SHIM_FOLDERS lists folders,
 * separated by ':'; folder number i is bit 1 << i in control.folders. The longest folder that matches is the one.
 * Only absolute paths, and paths relative to a directory's descriptor, are looked at.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* tests/live/gauntlet/shim.py has the same numbers */
enum { OPEN, WRITE, FSYNC, RENAME, UNLINK, MKDIR, LINK, READ, STAT, TRUNCATE };
enum { NOTHING, FAIL, KILL, KILL_HALF };

struct control {
    unsigned action;  /* what to do at a call that matches */
    unsigned calls;   /* bits of the calls that match */
    unsigned folders; /* bits of the folders that match */
    unsigned error;   /* errno, for FAIL */
    unsigned nth;     /* at which matching call; 0: at each */
    unsigned count;   /* matching calls so far */
    unsigned struck;  /* how often the action was taken */
    unsigned last;    /* the call at which it was taken */
};

static struct control *control;
static char folders[16][PATH_MAX];
static size_t lengths[16];
static int number;
static __thread int busy;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL"), *list = getenv("SHIM_FOLDERS");
    if (!path || !list)
        return;
    for (const char *from = list; *from && number < 16;) {
        size_t length = strcspn(from, ":");
        if (length && length < PATH_MAX) {
            memcpy(folders[number], from, length);
            lengths[number++] = length;
        }
        from += length + (from[length] == ':');
    }
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static int folder_of(const char *path) {
    int found = -1;
    for (int i = 0; i < number; i++)
        if (!strncmp(path, folders[i], lengths[i]) && (path[lengths[i]] == '/' || !path[lengths[i]]) &&
            (found < 0 || lengths[i] > lengths[found]))
            found = i;
    return found;
}

static int armed(int call) {
    return control && !busy && control->action && (control->calls & (1u << call));
}

/* Whether the call is to be failed, with errno set; does not return where the process is to be killed. */
static int strikes(int call, const char *path, int half) {
    int folder = folder_of(path);
    if (folder < 0 || !(control->folders & (1u << folder)))
        return 0;
    unsigned count = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (control->nth && count != control->nth)
        return 0;
    if (control->action == KILL_HALF && half == 0 && call == WRITE)
        return -1; /* the caller writes half, and strikes again */
    __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
    control->last = (unsigned)call;
    if (control->action == FAIL) {
        errno = (int)control->error;
        return 1;
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
    return 0;
}

static int by_path(int call, int directory, const char *path) {
    char whole[PATH_MAX * 2], name[64];
    if (!armed(call) || !path)
        return 0;
    if (path[0] == '/')
        return strikes(call, path, 1);
    if (directory == AT_FDCWD)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(name, whole, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
    return strikes(call, whole, 1);
}

static int by_descriptor(int call, int fd, int half) {
    char name[64], path[PATH_MAX];
    if (!armed(call))
        return 0;
    int saved = errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    errno = saved;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strikes(call, path, half);
}

#define OPENS(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                        \
        va_list more;                                                                                                   \
        va_start(more, flags);                                                                                          \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                                       \
        va_end(more);                                                                                                   \
        return by_path(OPEN, AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode);                                      \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                                                                  \
    int name(int directory, const char *path, int flags, ...) {                                                         \
        va_list more;                                                                                                   \
        va_start(more, flags);                                                                                          \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                                       \
        va_end(more);                                                                                                   \
        return by_path(OPEN, directory, path) ? -1 : REAL(name)(directory, path, flags, mode);                          \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

DIR *opendir(const char *path) { return by_path(OPEN, AT_FDCWD, path) ? NULL : REAL(opendir)(path); }

/* Write half, and die. */
static ssize_t torn(int fd, const void *data, size_t size) {
    if (size > 1)
        (void)!REAL(write)(fd, data, size / 2);
    __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
    control->last = WRITE;
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
    return -1;
}

ssize_t write(int fd, const void *data, size_t size) {
    int struck = by_descriptor(WRITE, fd, 0);
    if (struck < 0)
        return torn(fd, data, size);
    return struck ? -1 : REAL(write)(fd, data, size);
}

#define WRITES_AT(name, offset_type)                                                                                    \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) {                                               \
        int struck = by_descriptor(WRITE, fd, 0);                                                                       \
        if (struck < 0) {                                                                                               \
            (void)!REAL(name)(fd, data, size / 2, at);                                                                  \
            return torn(fd, data, 0);                                                                      \
        }                                                                                                               \
        return struck ? -1 : REAL(name)(fd, data, size, at);                                                            \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    return by_descriptor(WRITE, fd, 1) ? -1 : REAL(writev)(fd, pieces, count);
}

ssize_t read(int fd, void *data, size_t size) { return by_descriptor(READ, fd, 1) ? -1 : REAL(read)(fd, data, size); }
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return by_descriptor(READ, fd, 1) ? -1 : REAL(pread)(fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return by_descriptor(READ, fd, 1) ? -1 : REAL(pread64)(fd, data, size, at);
}
ssize_t sendfile(int out, int in, off_t *at, size_t size);
ssize_t sendfile64(int out, int in, off64_t *at, size_t size);
ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    return by_descriptor(READ, in, 1) ? -1 : REAL(sendfile)(out, in, at, size);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
    return by_descriptor(READ, in, 1) ? -1 : REAL(sendfile64)(out, in, at, size);
}

int fsync(int fd) { return by_descriptor(FSYNC, fd, 1) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return by_descriptor(FSYNC, fd, 1) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { return by_descriptor(TRUNCATE, fd, 1) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return by_descriptor(TRUNCATE, fd, 1) ? -1 : REAL(ftruncate64)(fd, size); }

int rename(const char *from, const char *to) { return by_path(RENAME, AT_FDCWD, to) ? -1 : REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    return by_path(RENAME, b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return by_path(RENAME, b, to) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}
int link(const char *from, const char *to) { return by_path(LINK, AT_FDCWD, to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return by_path(LINK, b, to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int unlink(const char *path) { return by_path(UNLINK, AT_FDCWD, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int directory, const char *path, int flags) {
    return by_path(UNLINK, directory, path) ? -1 : REAL(unlinkat)(directory, path, flags);
}
int rmdir(const char *path) { return by_path(UNLINK, AT_FDCWD, path) ? -1 : REAL(rmdir)(path); }
int mkdir(const char *path, mode_t mode) { return by_path(MKDIR, AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode); }
int mkdirat(int directory, const char *path, mode_t mode) {
    return by_path(MKDIR, directory, path) ? -1 : REAL(mkdirat)(directory, path, mode);
}

#define STATS(name, type)                                                                                               \
    int name(const char *path, type *found) { return by_path(STAT, AT_FDCWD, path) ? -1 : REAL(name)(path, found); }
STATS(stat, struct stat)
STATS(lstat, struct stat)
STATS(stat64, struct stat64)
STATS(lstat64, struct stat64)
int fstatat(int directory, const char *path, struct stat *found, int flags) {
    return by_path(STAT, directory, path) ? -1 : REAL(fstatat)(directory, path, found, flags);
}
int fstatat64(int directory, const char *path, struct stat64 *found, int flags) {
    return by_path(STAT, directory, path) ? -1 : REAL(fstatat64)(directory, path, found, flags);
}
int fstat(int fd, struct stat *found) { return by_descriptor(STAT, fd, 1) ? -1 : REAL(fstat)(fd, found); }
int fstat64(int fd, struct stat64 *found) { return by_descriptor(STAT, fd, 1) ? -1 : REAL(fstat64)(fd, found); }
