// flags: -g -O0 -fno-builtin -pthread
/*
 * Nothing is lost here: idle N starts N threads that wait. Every thread keeps a buffer in a local, main keeps one in
 * a static.
 *
 * idle N             waits for a signal after its marker
 * idle N --return    returns from main instead, while the threads wait
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_barrier_t started;
static char *kept;

static void *wait_for_ever(void *argument)
{
    char *volatile own = malloc(100);
    own[0] = 1;
    pthread_barrier_wait(&started);
    for (;;)
        pause();
    return argument;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    kept = malloc(200);
    pthread_barrier_init(&started, NULL, count + 1);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0)
            return 1;
    }
    pthread_barrier_wait(&started);
    write(1, "ready\n", 6);
    if (argc > 2)
        return 0;
    for (;;)
        pause();
}
