/*
 * Known allocations, so that what umdb counts can be compared with what the program did.
 *
 *   make_small    100 of 40 bytes, all kept
 *   make_medium    30 of 100 bytes, of which each third is freed: 20 kept
 *   make_large      2 of 700000 bytes, kept, and 1 of them freed before
 *   worker         20 of 700 bytes on a thread of its own, of which the first 5 are freed: 15 kept
 *
 * The structures are for ::print: each kept session points to the next.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum state { IDLE, BUSY = 4, DONE = 8 };

struct point {
    short x, y;
};

struct session {
    int id;
    char name[20];
    struct session *next;
    enum state state;
    unsigned low : 3, high : 5;
    union {
        double real;
        long whole;
    } value;
    struct point corners[2];
    void (*handler)(int);
};

struct session *head;
static void *small[100], *medium[30], *large[2], *of_worker[20];
static pthread_barrier_t made;

static void handle(int number)
{
    (void)number;
}

static void make_small(void)
{
    for (int i = 0; i < 100; i++)
        small[i] = malloc(40);
}

static void make_medium(void)
{
    for (int i = 0; i < 30; i++)
        medium[i] = malloc(100);
    for (int i = 0; i < 30; i += 3) {
        free(medium[i]);
        medium[i] = NULL;
    }
}

static void make_large(void)
{
    free(malloc(700000));
    for (int i = 0; i < 2; i++)
        large[i] = malloc(700000);
}

static void make_sessions(void)
{
    for (int i = 0; i < 2; i++) {
        struct session *new = calloc(1, sizeof *new);
        new->id = i - 1;
        strcpy(new->name, i ? "second \"one\"" : "first");
        new->next = head;
        new->state = i ? BUSY | DONE : BUSY;
        new->low = 5;
        new->high = 17;
        new->value.real = 1.5;
        new->corners[1].x = -7;
        new->handler = handle;
        head = new;
    }
}

static void *worker(void *unused)
{
    for (int i = 0; i < 20; i++)
        of_worker[i] = malloc(700);
    for (int i = 0; i < 5; i++) {
        free(of_worker[i]);
        of_worker[i] = NULL;
    }
    pthread_barrier_wait(&made);
    pause();
    return unused;
}

int main(void)
{
    pthread_t thread;
    pthread_barrier_init(&made, NULL, 2);
    make_small();
    make_medium();
    make_large();
    make_sessions();
    pthread_create(&thread, NULL, worker, NULL);
    pthread_barrier_wait(&made);
    write(1, "ready\n", 6);
    pause();
    return 0;
}
