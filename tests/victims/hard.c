// flags: -g -O1 -fno-builtin -pthread
/*
 * Situations in which an allocator breaks easily, one an argument. Each ends with "ok" or says what broke.
 *
 *   grow     threads grow and shrink blocks side by side
 *   locked   zeroed memory where the kernel refuses to take pages back (mlock)
 *   forks    children of fork while other threads exchange buffers: no buffer twice
 *   limited  blocks just above the largest size class under a limit of the address space
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    write(1, what, strlen(what));
    write(1, "\n", 1);
    _exit(1);
}

static unsigned next(unsigned *state)
{
    return (*state = *state * 1103515245u + 12345u) >> 8;
}

static void *grow(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    for (int round = 0; round < 8000; round++) {
        unsigned tag = next(&state);
        size_t size = (17000 + next(&state) % 30000) & ~(size_t)3;
        unsigned *block = malloc(size);
        if (!block)
            fail("no memory");
        block[0] = block[size / 4 - 1] = tag;
        for (int change = next(&state) % 8; change > 0; change--) {
            size_t to = (next(&state) % 3 ? size + next(&state) % 60000 : 17000 + next(&state) % 20000) & ~(size_t)3;
            size_t least = size < to ? size : to;
            block[least / 4 - 1] = tag;
            block = realloc(block, to);
            if (!block)
                fail("no memory");
            if (block[0] != tag || block[least / 4 - 1] != tag)
                fail("contents changed");
            block[to / 4 - 1] = tag;
            size = to;
        }
        if (block[0] != tag || block[size / 4 - 1] != tag)
            fail("contents changed");
        free(block);
    }
    return NULL;
}

static void check_grow(void)
{
    enum { THREADS = 40 };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, grow, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void check_locked(void)
{
    size_t size = 5 << 18;
    for (int round = 0; round < 4; round++) {
        char *block = malloc(size);
        if (!block || mlock(block, size))
            fail("cannot lock memory");
        memset(block, 0x5a, size);
        free(block);
        block = calloc(1, size);
        for (size_t i = 0; i < size; i++)
            if (block[i])
                fail("calloc gave memory that is not zero");
        munlock(block, size);
        free(block);
    }
}

enum { HELD = 600, SIZE = 16000 };

static void *exchange(void *unused)
{
    void *held[7];
    for (;;) {
        for (int i = 0; i < 7; i++)
            held[i] = malloc(SIZE);
        for (int i = 0; i < 7; i++)
            free(held[i]);
    }
    return unused;
}

static void child(void)
{
    static long *held[HELD];
    alarm(20);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < HELD; i++)
            held[i] = malloc(SIZE);
        for (int i = 0; i < HELD; i++)
            *held[i] = i;
        for (int i = 0; i < HELD; i++)
            if (*held[i] != i)
                _exit(42);
        for (int i = 0; i < HELD; i++)
            free(held[i]);
    }
    _exit(0);
}

static void check_forks(void)
{
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, exchange, NULL);
    for (int i = 0; i < 1000; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            child();
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 42)
            fail("a child got a buffer twice");
        if (status)
            fail("a child hung or died");
    }
}

static void check_limited(char **arguments)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    if (limit.rlim_cur != 1u << 30) {
        limit.rlim_cur = limit.rlim_max = 1u << 30;
        setrlimit(RLIMIT_AS, &limit);
        execv("/proc/self/exe", arguments);
        fail("exec failed");
    }
    size_t bytes = 0;
    char *block;
    while ((block = malloc(17000))) {
        block[0] = 1;
        bytes += 17000;
    }
    /* glibc gets to 970 MiB; half of the limit is asked for. */
    if (bytes < 512u << 20)
        fail("out of memory with more than half of the limit left");
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "grow"))
        check_grow();
    else if (!strcmp(what, "locked"))
        check_locked();
    else if (!strcmp(what, "forks"))
        check_forks();
    else if (!strcmp(what, "limited"))
        check_limited(arguments);
    else
        fail("unknown situation");
    write(1, "ok\n", 3);
    _exit(0);
}
