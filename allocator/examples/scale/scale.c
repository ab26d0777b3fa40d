/*
 * How cost grows with work, one question an argument and a number:
 *
 *   live N     nanoseconds of CPU time to replace one of N live buffers
 *   threads N  the same on N threads with 1,000 live buffers each
 *   churn N    resident memory as a part of live bytes after N phases, each of which prefers other sizes
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void *allocate(size_t size)
{
    char *buffer = malloc(size);
    if (!buffer)
        abort();
    buffer[0] = buffer[size - 1] = 1;
    return buffer;
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static long operations;

static void replace(void **held, long count, long turns, uint64_t seed)
{
    for (long i = 0; i < turns; i++) {
        long at = (long)(next(&seed) % (uint64_t)count);
        free(held[at]);
        held[at] = allocate(16 + next(&seed) % 500);
    }
}

static void live(long count)
{
    void **held = calloc((size_t)count, sizeof *held);
    uint64_t seed = 42;
    for (long i = 0; i < count; i++)
        held[i] = allocate(16 + next(&seed) % 500);
    long turns = 2000000;
    double start = seconds();
    replace(held, count, turns, seed);
    printf("%.1f\n", (seconds() - start) / turns * 1e9);
}

static void *worker(void *seed)
{
    enum { LIVE = 1000 };
    void **held = calloc(LIVE, sizeof *held);
    replace(held, LIVE, operations, (uint64_t)(uintptr_t)seed);
    for (int i = 0; i < LIVE; i++)
        free(held[i]);
    free(held);
    return NULL;
}

static void threads(long count)
{
    pthread_t *ids = calloc((size_t)count, sizeof *ids);
    operations = 8000000 / count;
    double start = seconds();
    for (long i = 0; i < count; i++)
        pthread_create(&ids[i], NULL, worker, (void *)(i * 7919 + 1));
    for (long i = 0; i < count; i++)
        pthread_join(ids[i], NULL);
    printf("%.1f\n", (seconds() - start) / (operations * count) * 1e9);
}

static long resident(void)
{
    long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
        abort();
    fclose(file);
    return pages * 4096;
}

/* 40 MB live. A phase replaces as many bytes, with sizes around a centre of its own; one buffer in a hundred stays for ever. */
static void churn(long phases)
{
    enum { PLACES = 1 << 20 };
    static char *held[PLACES];
    static uint32_t sizes[PLACES];
    uint64_t seed = 7;
    long base = resident(), bytes = 0;
    for (long phase = 0; phase < phases; phase++) {
        uint64_t centre = 16u << next(&seed) % 12;
        for (long replaced = 0; replaced < 40000000;) {
            long at = (long)(next(&seed) % PLACES);
            if (held[at] && next(&seed) % 100 == 0 && bytes < 40000000)
                continue;
            bytes -= sizes[at];
            free(held[at]);
            held[at] = NULL;
            sizes[at] = 0;
            if (bytes > 40000000)
                continue;
            uint32_t size = (uint32_t)(centre / 2 + next(&seed) % centre);
            held[at] = allocate(size);
            memset(held[at], 1, size);
            sizes[at] = size;
            bytes += size;
            replaced += size;
        }
    }
    printf("%.3f\n", (double)(resident() - base) / (double)bytes);
}

int main(int count, char **arguments)
{
    const char *what = count == 3 ? arguments[1] : "";
    long number = count == 3 ? atol(arguments[2]) : 0;
    if (number <= 0)
        return 2;
    if (!strcmp(what, "live"))
        live(number);
    else if (!strcmp(what, "threads"))
        threads(number);
    else if (!strcmp(what, "churn"))
        churn(number);
    else
        return 2;
    return 0;
}
