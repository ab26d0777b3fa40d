// flags: -g -O2 -fno-builtin -fomit-frame-pointer -pthread
/*
 * Meets many stacks. "threads": 64 threads meet the same new ones at once; "deep": under 10,000 frames; "distinct N": so many different ones. Each
 * leaks one buffer at the end, of 333 bytes.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLED __attribute__((noinline, noclone))
#define THREADS 64
#define LEVELS 10

static volatile unsigned long sum;

static void onwards(unsigned way, int levels);

CALLED static void north(unsigned way, int levels) { onwards(way, levels); sum++; }
CALLED static void east(unsigned way, int levels) { onwards(way, levels); sum++; }
CALLED static void south(unsigned way, int levels) { onwards(way, levels); sum++; }
CALLED static void west(unsigned way, int levels) { onwards(way, levels); sum++; }

static void (*const ways[])(unsigned, int) = {north, east, south, west};

/* Goes on by one of four ways a level, as the digits of way say. */
CALLED static void onwards(unsigned way, int levels)
{
    if (levels == 0)
        free(malloc(40));
    else
        ways[way % 4](way / 4, levels - 1);
    sum++;
}

CALLED static void descend(int frames)
{
    if (frames % 100 == 0)
        free(malloc(50));
    if (frames > 0)
        descend(frames - 1);
    sum++;
}

static pthread_barrier_t barrier;

static void *meet(void *unused)
{
    pthread_barrier_wait(&barrier);
    for (unsigned way = 0; way < 1024; way++)
        onwards(way, 5);
    return unused;
}

CALLED static void lose(void)
{
    sum += (unsigned long)malloc(333);
    sum++;
}

int main(int count, char **args)
{
    const char *mode = count > 1 ? args[1] : "";
    if (strcmp(mode, "threads") == 0) {
        pthread_t threads[THREADS];
        pthread_barrier_init(&barrier, NULL, THREADS);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, meet, NULL);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    } else if (strcmp(mode, "deep") == 0) {
        descend(10000);
    } else {
        for (unsigned way = 0; way < (unsigned)atoi(args[2]); way++)
            onwards(way, LEVELS);
    }
    lose();
    write(1, "ready\n", 6);
    getchar();
    return 0;
}
