/* Preloaded: counts the file operations below a folder and fails the k-th, and on request all later ones.

   torture_arm(folder, at, error, for_ever) starts counting from 0; torture_count() returns how many there were.
   An error of 0 makes the k-th write a short one: half of its bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at, count;
static int error, for_ever, armed;

void torture_arm(const char *path, long k, int number, int stays)
{
    strncpy(folder, path, PATH_MAX - 1);
    at = k, error = number, for_ever = stays, count = 0, armed = 1;
}

long torture_count(void) { return count; }

static int is_below(const char *path) { return strncmp(path, folder, strlen(folder)) == 0; }

static int is_path_ours(int directory, const char *path)
{
    char base[PATH_MAX], whole[2 * PATH_MAX], link[64];
    if (!armed || !path) return 0;
    if (path[0] == '/') return is_below(path);
    if (directory == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return is_below(whole);
}

static int is_file_ours(int descriptor)
{
    char link[64], path[PATH_MAX];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* 0: go on; 1: fail with errno set; 2: write half */
static int strike(void)
{
    long now = __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    if (now != at && !(for_ever && now > at)) return 0;
    if (!error) return 2;
    errno = error;
    return 1;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL(ours) if ((ours) && strike() == 1) return -1

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    FAIL(is_path_ours(AT_FDCWD, path));
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    FAIL(is_path_ours(AT_FDCWD, path));
    return real(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    REAL(openat);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    FAIL(is_path_ours(directory, path));
    return real(directory, path, flags, mode);
}

#define WRITE(name, parameters, arguments, half)                                      \
    ssize_t name parameters                                                           \
    {                                                                                 \
        REAL(name);                                                                   \
        int struck = is_file_ours(descriptor) ? strike() : 0;                         \
        if (struck == 1) return -1;                                                   \
        if (struck == 2 && size > 1) { size_t whole = size; size = half; (void)whole; } \
        return real arguments;                                                        \
    }

WRITE(write, (int descriptor, const void *block, size_t size), (descriptor, block, size), whole / 2)
WRITE(pwrite, (int descriptor, const void *block, size_t size, off_t place), (descriptor, block, size, place), whole / 2)
WRITE(pwrite64, (int descriptor, const void *block, size_t size, off64_t place), (descriptor, block, size, place), whole / 2)
WRITE(read, (int descriptor, void *block, size_t size), (descriptor, block, size), whole / 2)

int fsync(int descriptor) { REAL(fsync); FAIL(is_file_ours(descriptor)); return real(descriptor); }
int rename(const char *old, const char *new) { REAL(rename); FAIL(is_path_ours(AT_FDCWD, new)); return real(old, new); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); FAIL(is_path_ours(AT_FDCWD, path)); return real(path, mode); }
int ftruncate64(int descriptor, off64_t size) { REAL(ftruncate64); FAIL(is_file_ours(descriptor)); return real(descriptor, size); }
