/*
 * Three threads that get their names after their first allocation, the last one first: nobody but the kernel, and the library
 * when it looks again, knows them. All wait for a signal after the marker.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_barrier_t all;

static void *worker(void *number)
{
    char name[16];
    free(malloc(40));
    snprintf(name, sizeof name, "worker %ld", (long)number);
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&all);
    pause();
    return NULL;
}

int main(void)
{
    pthread_t thread;
    pthread_barrier_init(&all, NULL, 4);
    for (long number = 3; number > 0; number--)
        pthread_create(&thread, NULL, worker, (void *)number);
    pthread_barrier_wait(&all);
    if (write(1, "ready\n", 6) != 6)
        return 1;
    for (;;)
        pause();
}
