// flags: -g -O0 -fno-builtin -pthread
/*
 * Threads that have ended, joined or (--detached) not. glibc keeps their stacks and control blocks for the next
 * thread: those are no leaks. Every thread freed what it allocated.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sched.h>
#include <fcntl.h>

enum { THREADS = 4 };

static void *work(void *argument)
{
    for (int size = 16; size <= 4096; size *= 2) {
        char *buffer = malloc(size);
        memset(buffer, 1, size);
        free(buffer);
    }
    return argument;
}

/* Number of threads of this process, without allocating. */
static int count_threads(void)
{
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    char *field = strstr(text, "Threads:");
    return field ? atoi(field + 8) : 0;
}

int main(int argc, char **argv)
{
    int detached = argc > 1 && strcmp(argv[1], "--detached") == 0;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++) {
        if (detached)
            pthread_detach(threads[i]);
        else
            pthread_join(threads[i], NULL);
    }
    while (count_threads() > 1)
        sched_yield();
    memset(threads, 0, sizeof threads);
    write(1, "ready\n", 6);
    for (;;)
        pause();
}
