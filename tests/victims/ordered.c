// flags: -g -O1 -fno-builtin -pthread
/* Two threads allocate in turns and tell each other by a pipe, then by a semaphore, that it was done: turn N asks for FIRST + N bytes. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST = 10000, TURNS = 600 };

static int pipes[2][2];
static sem_t semaphores[2];
static void *volatile kept;

static void wait_for(int me, int turn)
{
    char byte;
    if (turn < TURNS / 2 ? read(pipes[me][0], &byte, 1) != 1 : sem_wait(&semaphores[me]) != 0)
        abort();
}

static void tell(int other, int turn)
{
    if (turn < TURNS / 2 ? write(pipes[other][1], "", 1) != 1 : sem_post(&semaphores[other]) != 0)
        abort();
}

static void *play(void *number)
{
    int me = number != NULL;
    for (int turn = me; turn < TURNS; turn += 2) {
        if (turn > 0)
            wait_for(me, turn - 1);
        kept = malloc(FIRST + turn);
        tell(!me, turn);
    }
    return NULL;
}

int main(void)
{
    pthread_t other;
    for (int i = 0; i < 2; i++)
        if (pipe(pipes[i]) || sem_init(&semaphores[i], 0, 0))
            return 1;
    if (pthread_create(&other, NULL, play, pipes))
        return 1;
    play(NULL);
    pthread_join(other, NULL);
    write(1, "ready\n", 6);
    getchar();
    return 0;
}
