/* A wall clock that a test can move: the seconds in the file that EVENTIFY_CHAOS_CLOCK names are
 * added to what a purchase worker reads. Loaded by LD_PRELOAD; other programs are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *moved_by_seconds;

__attribute__((constructor)) static void open_clock(void) {
    char command[4096] = "";
    int file = open("/proc/self/cmdline", O_RDONLY);
    ssize_t length = read(file, command, sizeof command - 1);
    close(file);
    if (length <= 0 || !memmem(command, length, "purchase_worker", 16)) return;
    const char *path = getenv("EVENTIFY_CHAOS_CLOCK");
    if (!path || (file = open(path, O_RDONLY)) < 0) return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) moved_by_seconds = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && moved_by_seconds && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *moved_by_seconds;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *copy) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (copy) *copy = now.tv_sec;
    return now.tv_sec;
}
