// flags: -g -O0 -fno-builtin -pthread
/*
 * Answers every byte on standard input with its successor, which it has carried through a buffer of its own. A
 * second thread allocates and frees all the time, so that a debugger may stop it anywhere, also inside of malloc.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *churn(void *argument)
{
    for (;;) {
        char *volatile buffer = malloc(64);
        buffer[0] = 1;
        free(buffer);
    }
    return argument;
}

int main(void)
{
    pthread_t thread;
    char byte;
    if (pthread_create(&thread, NULL, churn, NULL) != 0)
        return 1;
    write(1, "ready\n", 6);
    while (read(0, &byte, 1) == 1) {
        char *copy = malloc(50);
        *copy = byte + 1;
        write(1, copy, 1);
        free(copy);
    }
    return 0;
}
