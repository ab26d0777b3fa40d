// flags: -g -O2 -fno-builtin -pthread
/*
 * clock MIB THREADS: touches so many MiB of heap, starts so many threads that sleep, and watches the clock. Each byte on
 * standard input is answered by a line with the longest time in microseconds that passed between two looks
 * since the last answer.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile long longest;

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void *watch(void *unused)
{
    for (long before = now();;) {
        long time = now();
        if (time - before > longest)
            longest = time - before;
        before = time;
    }
    return unused;
}

static void *sleeps(void *unused)
{
    for (;;)
        pause();
    return unused;
}

int main(int argc, char **argv)
{
    long mib = argc > 1 ? atol(argv[1]) : 0, threads = argc > 2 ? atol(argv[2]) : 0;
    char **kept = calloc(mib * 16 + 1, sizeof *kept);
    pthread_t thread;
    pthread_attr_t small;
    char byte;
    for (long i = 0; i < mib * 16; i++) {
        kept[i] = malloc(65000);
        memset(kept[i], 1, 65000);
    }
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (threads-- > 0)
        if (pthread_create(&thread, &small, sleeps, NULL))
            return 1;
    if (pthread_create(&thread, NULL, watch, NULL))
        return 1;
    write(1, "ready\n", 6);
    while (read(0, &byte, 1) == 1) {
        char line[32];
        int length = snprintf(line, sizeof line, "%ld\n", longest);
        longest = 0;
        write(1, line, length);
    }
    return 0;
}
