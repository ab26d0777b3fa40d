// flags: -g -O1 -fno-builtin -pthread
/*
 * Threads that allocate, check, hand to each other and free, while children are forked and do the same. Every
 * buffer is filled with bytes that follow from its number: two buffers that overlap, or one that changes while it
 * is held, are found when it is freed.
 *
 * stress THREADS ROUNDS
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "account.h"

enum { HELD = 64, SHARED = 256, FORK_EVERY = 2000, THREADS_MAX = 64 };

struct buffer {
    size_t size;
    uint64_t seed;
    unsigned char bytes[];
};

static struct buffer *_Atomic shared[SHARED];
static int rounds;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void die(const char *what)
{
    write(2, what, strlen(what));
    write(2, "\n", 1);
    _exit(1);
}

static struct buffer *make(uint64_t *random)
{
    uint64_t kind = next(random) % 100;
    size_t most = kind < 90 ? 400 : kind < 99 ? 10000 : 300000;
    size_t size = next(random) % most;
    struct buffer *made;
    switch (next(random) % 8) {
    case 0:
        made = calloc(1, sizeof *made + size);
        for (size_t i = 0; made != NULL && i < size; i++)
            if (made->bytes[i] != 0)
                die("calloc gave bytes that are not zero");
        break;
    case 1:
        made = aligned_alloc(64, sizeof *made + size);
        if ((uintptr_t)made % 64 != 0)
            die("aligned_alloc gave a wrong address");
        break;
    default:
        made = malloc(sizeof *made + size);
    }
    if (made == NULL)
        die("out of memory");
    made->size = size;
    made->seed = next(random);
    memset(made->bytes, (int)made->seed, size);
    return made;
}

static void check(const struct buffer *held)
{
    for (size_t i = 0; i < held->size; i++)
        if (held->bytes[i] != (unsigned char)held->seed)
            die("a buffer changed while it was held");
}

static struct buffer *resize_to(struct buffer *held, size_t size)
{
    size_t before = held->size;
    held = realloc(held, sizeof *held + size);
    if (held == NULL)
        die("out of memory");
    if (size > before)
        memset(held->bytes + before, (int)held->seed, size - before);
    held->size = size;
    return held;
}

static struct buffer *resize(struct buffer *held, uint64_t *random)
{
    return resize_to(held, next(random) % 2000);
}

/* Fills a buffer as programs fill vectors: it grows a little many times in a row, and keeps its contents. */
static struct buffer *fill(struct buffer *held, uint64_t *random)
{
    size_t most = next(random) % 10 ? 30000 : 1000000;
    for (int i = next(random) % 60; i > 0 && held->size < most; i--) {
        held = resize_to(held, held->size + held->size / 8 + next(random) % 100);
        if (next(random) % 8 == 0)
            check(held);
    }
    return held;
}

static void release(struct buffer *held)
{
    if (held == NULL)
        return;
    check(held);
    held->size = 0;
    held->seed = 0;
    free(held);
}

static void step(struct buffer **held, uint64_t *random)
{
    struct buffer **place = &held[next(random) % HELD];
    switch (next(random) % 4) {
    case 0:
        *place = atomic_exchange(&shared[next(random) % SHARED], *place);
        break;
    case 1:
        if (*place != NULL) {
            check(*place);
            *place = next(random) % 4 ? resize(*place, random) : fill(*place, random);
        }
        break;
    default:
        release(*place);
        *place = make(random);
    }
}

/* What a child does: it may use all that it inherited, also what other threads held. */
static void child(struct buffer **held, uint64_t random)
{
    for (int i = 0; i < 500; i++)
        step(held, &random);
    for (int i = 0; i < HELD; i++)
        release(held[i]);
    for (int i = 0; i < SHARED; i++)
        release(atomic_exchange(&shared[i], NULL));
    _exit(0);
}

static void fork_one(struct buffer **held, uint64_t random)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        die("fork failed");
    if (pid == 0)
        child(held, random);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("a child failed");
}

static void *work(void *number)
{
    uint64_t random = 0x9e3779b97f4a7c15 * ((uintptr_t)number + 1);
    struct buffer *held[HELD] = {0};
    for (int i = 1; i <= rounds; i++) {
        step(held, &random);
        if (i % FORK_EVERY == 0)
            fork_one(held, random);
    }
    for (int i = 0; i < HELD; i++)
        release(held[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    int count = argc > 1 ? atoi(argv[1]) : 4;
    rounds = argc > 2 ? atoi(argv[2]) : 10000;
    if (count > THREADS_MAX)
        return 2;
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) != 0)
            die("no thread");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < SHARED; i++)
        release(atomic_exchange(&shared[i], NULL));
    end_with_account();
}
