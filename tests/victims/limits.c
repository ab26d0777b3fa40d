// flags: -g -O0 -fno-builtin -pthread
/*
 * A limit of the address space that is set after the start. Says ok when all went well.
 *
 * limits own       the process limits itself, and then uses what the limit leaves: threads, mappings, the heap to its end
 * limits other     a child limits the process, which notices at its next update
 * limits forked    a child of fork limits itself, beside threads that allocate
 * limits again     what was allocated to the end and freed can be had in other sizes
 * limits foreign   mappings where the heap had reserved room are no part of it: says ready and waits
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8 };
#define MiB ((size_t)1 << 20)
static const size_t LIMIT = 1024 * MiB;

static void fail(const char *why)
{
    dprintf(2, "%s (errno %d)\n", why, errno);
    _exit(1);
}

/* Address space of the process in bytes. */
static size_t mapped(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu", &pages) != 1)
        fail("no statm");
    fclose(file);
    return pages * 4096;
}

static void set_limit(size_t bytes)
{
    struct rlimit limit = { bytes, RLIM_INFINITY };
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        fail("setrlimit");
    struct rlimit now;
    if (prlimit(getpid(), RLIMIT_AS, NULL, &now) != 0 || now.rlim_cur != bytes)
        fail("the limit is another one");
}

static void *work(void *argument)
{
    char *kept[100];
    for (int i = 0; i < 100; i++)
        memset(kept[i] = malloc(100 * i + 1), i, 100 * i + 1);
    for (int i = 0; i < 100; i++)
        free(kept[i]);
    return argument;
}

/* Threads and mappings, as a program makes them that knows nothing of limits. */
static void use(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            fail("no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    void *map = mmap(NULL, 256 * MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        fail("no mapping");
    munmap(map, 256 * MiB);
}

struct node {
    struct node *next;
};

/* Allocates to the end, which has to come in order, and gives everything back. */
static size_t run_out(size_t size)
{
    struct node *all = NULL, *node;
    size_t bytes = 0;
    while ((node = malloc(size))) {
        node->next = all;
        all = node;
        bytes += size;
        if (bytes > LIMIT)
            fail("more than the limit");
    }
    if (errno != ENOMEM)
        fail("another error than ENOMEM");
    while ((node = all)) {
        all = node->next;
        free(node);
    }
    return bytes;
}

static void limit_own(void)
{
    char *before = malloc(1000);
    memset(before, 1, 1000);
    /* A bad address is an error, not the end. */
    if (setrlimit(RLIMIT_AS, (struct rlimit *)8) != -1 || errno != EFAULT)
        fail("a bad address was taken");
    set_limit(LIMIT);
    if (mapped() >= LIMIT)
        fail("above the limit from the start");
    use();
    /* A higher limit leaves more room, a lower one less, and the heap gives back anew what it has reserved. */
    set_limit(8 * LIMIT);
    use();
    set_limit(LIMIT / 2);
    use();
    set_limit(LIMIT);
    use();
    /* What the heap had once stays with it: the second time it gets as much. */
    for (int i = 0; i < 2; i++)
        if (run_out(17000) < LIMIT / 2)
            fail("out of memory with more than half of the limit left");
    set_limit(8 * LIMIT);
    use();
    char *large = malloc(2 * LIMIT);
    if (!large)
        fail("the limit was raised in vain");
    free(large);
    for (int i = 0; i < 1000; i++)
        if (before[i] != 1)
            fail("contents lost");
    free(before);
}

static void limit_other(void)
{
    pid_t parent = getpid();
    free(malloc(1000));
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = { LIMIT, RLIM_INFINITY };
        _exit(prlimit(parent, RLIMIT_AS, &limit, NULL) != 0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail("the child could not set the limit");
    while (mapped() >= LIMIT) {
        usleep(1000);
        /* Above the largest class of buffers. */
        free(malloc(700000));
    }
    use();
}

static volatile int stop;

static void *churn(void *argument)
{
    while (!stop)
        work(argument);
    return argument;
}

static void limit_forked(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, churn, NULL) != 0)
            fail("no thread");
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            set_limit(LIMIT);
            use();
            _exit(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0)
            fail("a child failed");
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void limit_again(void)
{
    set_limit(LIMIT / 4);
    for (size_t size = 100; size < MiB; size *= 9) {
        if (run_out(size) < LIMIT / 16)
            fail("out of memory too soon");
        for (size_t other = 16; other <= 4 * MiB; other *= 2) {
            char *buffer = malloc(other), *zeroed = calloc(1, other), *aligned;
            if (!buffer || !zeroed || posix_memalign((void **)&aligned, 4096, other) != 0)
                fail("what was freed cannot be had");
            free(buffer);
            free(zeroed);
            free(aligned);
        }
    }
}

static void map_where_it_was(void)
{
    char *buffer = malloc(1000);
    char *far = (char *)((size_t)buffer + 8192 * MiB);
    set_limit(LIMIT);
    char **map = mmap((void *)((size_t)far & ~(size_t)4095), MiB, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (map == MAP_FAILED)
        fail("the room is still taken");
    /* The only pointer to the buffer lies in the mapping. */
    map[7] = buffer;
    buffer = far = NULL;
    write(1, "ready\n", 6);
    char byte;
    while (read(0, &byte, 1) == 1)
        ;
    free(&map[7]);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "own"))
        limit_own();
    else if (!strcmp(what, "other"))
        limit_other();
    else if (!strcmp(what, "forked"))
        limit_forked();
    else if (!strcmp(what, "again"))
        limit_again();
    else if (!strcmp(what, "foreign"))
        map_where_it_was();
    else
        fail("unknown situation");
    write(1, "ok\n", 3);
    _exit(0);
}
