/*
 * Allocation patterns, one an argument. Each touches what it gets, so that pages count.
 * The counts make a run last a few tenths of a second; a second argument divides them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long part = 1;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void touch(void *buffer, size_t size)
{
    ((volatile char *)buffer)[0] = 1;
    ((volatile char *)buffer)[size - 1] = 1;
}

static void *allocate(size_t size)
{
    void *buffer = malloc(size);
    if (!buffer)
        abort();
    touch(buffer, size);
    return buffer;
}

/* One size, freed at once. */
static void pairs(void)
{
    for (long i = 0; i < 40000000 / part; i++)
        free(allocate(64));
}

/* A thousand of one size, then all freed. */
static void batches(void)
{
    static void *held[1000];
    for (int round = 0; round < 20000 / part; round++) {
        for (int i = 0; i < 1000; i++)
            held[i] = allocate(48);
        for (int i = 0; i < 1000; i++)
            free(held[i]);
    }
}

/* 10,000 live buffers of 8 to 4096 bytes; a random one is replaced. */
static void *replace(void *seed)
{
    enum { LIVE = 10000 };
    uint64_t state = 88172645463325252u + (uintptr_t)seed;
    void **held = calloc(LIVE, sizeof *held);
    for (long i = 0; i < 6000000 / part; i++) {
        unsigned at = next(&state) % LIVE;
        free(held[at]);
        held[at] = allocate(8 + next(&state) % 4089);
    }
    for (int i = 0; i < LIVE; i++)
        free(held[i]);
    free(held);
    return NULL;
}

/* Threads swap buffers through shared slots: about half of the frees are of another thread's buffer. */
enum { SLOTS = 8192 };
static void *slots[SLOTS];

static void *cross(void *seed)
{
    uint64_t state = 88172645463325252u + (uintptr_t)seed;
    for (long i = 0; i < 6000000 / part; i++) {
        void *mine = allocate(16 + next(&state) % 500);
        free(__atomic_exchange_n(&slots[next(&state) % SLOTS], mine, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

/* One thread allocates, another frees. */
enum { QUEUE = 4096, ITEMS = 8000000 };
static void *queue[QUEUE];
static long head, tail;

static void *produce(void *unused)
{
    for (long i = 0; i < ITEMS / part; i++) {
        while (i - __atomic_load_n(&tail, __ATOMIC_ACQUIRE) >= QUEUE)
            sched_yield();
        queue[i % QUEUE] = allocate(32 + i % 200);
        __atomic_store_n(&head, i + 1, __ATOMIC_RELEASE);
    }
    return unused;
}

static void *consume(void *unused)
{
    for (long i = 0; i < ITEMS / part; i++) {
        while (__atomic_load_n(&head, __ATOMIC_ACQUIRE) == i)
            sched_yield();
        free(queue[i % QUEUE]);
        __atomic_store_n(&tail, i + 1, __ATOMIC_RELEASE);
    }
    return unused;
}

/* Buffers that grow, as vectors and strings do. */
static void grow(void)
{
    for (int round = 0; round < 1000 / part; round++) {
        char *buffer = NULL;
        for (size_t size = 16; size < 4000000; size += size / 8 + 16) {
            buffer = realloc(buffer, size);
            touch(buffer, size);
        }
        free(buffer);
    }
}

static void aligned(void)
{
    void *held[100];
    uint64_t state = 1234567;
    for (int round = 0; round < 60000 / part; round++) {
        for (int i = 0; i < 100; i++) {
            size_t size = 64 + next(&state) % 1000;
            if (posix_memalign(&held[i], 64u << (i % 4), size))
                abort();
            touch(held[i], size);
        }
        for (int i = 0; i < 100; i++)
            free(held[i]);
    }
}

/* Blocks of 20 to 320 kB. */
static void large(void)
{
    void *held[16];
    uint64_t state = 99;
    for (int round = 0; round < 60000 / part; round++) {
        for (int i = 0; i < 16; i++)
            held[i] = allocate(20000 + next(&state) % 300000);
        for (int i = 0; i < 16; i++)
            free(held[i]);
    }
}

static void on_threads(void *(*one)(void *), void *(*two)(void *))
{
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, one, (void *)1);
    pthread_create(&threads[1], NULL, two, (void *)2);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

int main(int count, char **arguments)
{
    const char *pattern = count > 1 ? arguments[1] : "";
    if (count > 2 && atol(arguments[2]) > 0)
        part = atol(arguments[2]);
    if (!strcmp(pattern, "pairs"))
        pairs();
    else if (!strcmp(pattern, "batches"))
        batches();
    else if (!strcmp(pattern, "replace"))
        replace(NULL);
    else if (!strcmp(pattern, "replace2"))
        on_threads(replace, replace);
    else if (!strcmp(pattern, "cross2"))
        on_threads(cross, cross);
    else if (!strcmp(pattern, "queue2"))
        on_threads(produce, consume);
    else if (!strcmp(pattern, "grow"))
        grow();
    else if (!strcmp(pattern, "aligned"))
        aligned();
    else if (!strcmp(pattern, "large"))
        large();
    else {
        fprintf(stderr, "micro: unknown pattern '%s'\n", pattern);
        return 2;
    }
    return 0;
}
