/* What a program does to the files below DISK_ROOT, written down in DISK_LOG, and made to fail as DISK_CONTROL says.
 *
 * Preloaded (LD_PRELOAD). tests/proof/disk.py builds it, reads the log and says what a power cut would leave.
 * A record is written after the call, under one lock, so that the log has the order in which things happened.
 * Not here: writev, fallocate, sendfile, symbolic links and shared mappings. Neither Python's files nor SQLite use them
 * but for the -shm file, which SQLite makes anew; the proof compares log and folder after a clean stop, so it would
 * show.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 65536 };
struct control { /* bytes that the proof changes while the program runs */
    unsigned char write_errno, write_percent, sync_errno, sync_percent, sync_milliseconds;
};
struct record { /* followed by `first` and `second` bytes: a path or data, and a path */
    char kind;
    int32_t fd;
    int64_t number;
    uint32_t first, second;
} __attribute__((packed));

static const char *root;
static size_t root_length;
static int log_fd = -1, lies;
static volatile struct control *control;
static unsigned char watched[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_LOG"), *settings = getenv("DISK_CONTROL");
    root = getenv("DISK_ROOT");
    if (!root || !path || !settings) return;
    root_length = strlen(root);
    lies = getenv("DISK_LIES") != NULL;
    int fd = syscall(SYS_openat, AT_FDCWD, settings, O_RDONLY | O_CLOEXEC, 0);
    control = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || control == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
}

static void note(char kind, int fd, int64_t number, const void *first, size_t a, const void *second, size_t b) {
    int kept = errno;
    struct record head = {kind, fd, number, a, b};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)first, a}, {(void *)second, b}};
    if (syscall(SYS_writev, log_fd, parts, 3) != (ssize_t)(sizeof head + a + b)) abort();
    errno = kept;
}

static int is_watched(int fd) { return fd >= 0 && fd < FDS && watched[fd]; }

static int fails(unsigned char number, unsigned char percent) {
    static unsigned state = 1;
    if (!number || rand_r(&state) % 100 >= percent) return 0;
    errno = number;
    return 1;
}

/* The absolute path if it is below the root, else NULL. */
static const char *below(int folder, const char *path, char *buffer) {
    size_t length = 0;
    if (log_fd < 0) return NULL;
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t read = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1);
        if (read < 0) return NULL;
        buffer[read] = '/';
        length = read + 1;
    }
    if (length + strlen(path) >= PATH_MAX) return NULL;
    strcpy(buffer + length, path);
    int inside = !strncmp(buffer, root, root_length) && (!buffer[root_length] || buffer[root_length] == '/');
    return inside ? buffer : NULL;
}

int openat(int folder, const char *path, int flags, ...) {
    char buffer[PATH_MAX];
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *seen = below(folder, path, buffer);
    if (!seen) return syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= FDS) abort();
    if (fd >= 0) {
        watched[fd] = 1;
        note('O', fd, flags & O_TRUNC ? 1 : 0, seen, strlen(seen), NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}

int close(int fd) {
    if (is_watched(fd)) watched[fd] = 0;
    return syscall(SYS_close, fd);
}

/* `at` below 0: where the file stands. */
static ssize_t put(int fd, const void *data, size_t size, off_t at) {
    ssize_t done = -1;
    pthread_mutex_lock(&lock);
    if (!fails(control->write_errno, control->write_percent))
        done = at < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, at);
    if (done > 0) note('W', fd, at < 0 ? lseek(fd, 0, SEEK_CUR) - done : at, data, done, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    return is_watched(fd) ? put(fd, data, size, -1) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return is_watched(fd) ? put(fd, data, size, at) : syscall(SYS_pwrite64, fd, data, size, at);
}

int ftruncate(int fd, off_t size) {
    if (!is_watched(fd)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size);
    if (!result) note('T', fd, size, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

static int sync_with(long call, int fd) {
    static unsigned state = 2;
    if (!is_watched(fd)) return syscall(call, fd);
    if (control->sync_milliseconds) usleep(rand_r(&state) % (1000 * control->sync_milliseconds));
    pthread_mutex_lock(&lock);
    int result = fails(control->sync_errno, control->sync_percent) ? -1 : syscall(call, fd);
    if (result)
        note('L', fd, 0, NULL, 0, NULL, 0);
    else if (!lies)
        note('S', fd, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

/* A call that changes names: R(ename), H(ard link), U(nlink, rmdir), M(kdir). */
static int change(char kind, int a, const char *old, int b, const char *new, unsigned flags) {
    char old_buffer[PATH_MAX], new_buffer[PATH_MAX];
    const char *first = below(a, old, old_buffer), *second = new ? below(b, new, new_buffer) : NULL;
    if (!!first != (new ? !!second : !!first)) abort(); /* a name that crosses the border of the root */
    if (first) pthread_mutex_lock(&lock);
    int result = kind == 'R'   ? syscall(SYS_renameat2, a, old, b, new, flags)
                 : kind == 'H' ? syscall(SYS_linkat, a, old, b, new, flags)
                 : kind == 'U' ? syscall(SYS_unlinkat, a, old, flags)
                               : syscall(SYS_mkdirat, a, old, flags);
    if (first && !result) note(kind, -1, 0, first, strlen(first), second, second ? strlen(second) : 0);
    if (first) pthread_mutex_unlock(&lock);
    return result;
}

int renameat2(int a, const char *old, int b, const char *new, unsigned f) { return change('R', a, old, b, new, f); }
int renameat(int a, const char *old, int b, const char *new) { return change('R', a, old, b, new, 0); }
int rename(const char *old, const char *new) { return change('R', AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int a, const char *old, int b, const char *new, int f) { return change('H', a, old, b, new, f); }
int link(const char *old, const char *new) { return change('H', AT_FDCWD, old, AT_FDCWD, new, 0); }
int unlinkat(int a, const char *path, int flags) { return change('U', a, path, 0, NULL, flags); }
int unlink(const char *path) { return change('U', AT_FDCWD, path, 0, NULL, 0); }
int rmdir(const char *path) { return change('U', AT_FDCWD, path, 0, NULL, AT_REMOVEDIR); }
int mkdirat(int a, const char *path, mode_t mode) { return change('M', a, path, 0, NULL, mode); }
int mkdir(const char *path, mode_t mode) { return change('M', AT_FDCWD, path, 0, NULL, mode); }

/* The same calls under the names of programs that ask for large files. */
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
