// flags: -g -O1 -fno-builtin -pthread
// Loses a known number of buffers at known places, in patterns that a bad choice of samples would get wrong.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the functions lose is written to nowhere that a search would look.
static volatile size_t sink;

static void lose(void *buffer)
{
    sink += buffer != NULL;
}

__attribute__((noinline)) static void smallest(int count)
{
    for (int i = 0; i < count; i++)
        lose(malloc(16));
}

// Allocate two, free the second at once.
__attribute__((noinline)) static void paired(int count)
{
    for (int i = 0; i < count; i++) {
        lose(malloc(100));
        free(malloc(100));
    }
}

// The same the other way round, the kept one allocated second.
__attribute__((noinline)) static void second(int count)
{
    for (int i = 0; i < count; i++) {
        void *first = malloc(300);
        lose(malloc(300));
        free(first);
    }
}

__attribute__((noinline)) static void zeroed(int count)
{
    for (int i = 0; i < count; i++)
        lose(calloc(1, 2000));
}

__attribute__((noinline)) static void aligned(int count)
{
    for (int i = 0; i < count; i++)
        lose(aligned_alloc(256, 1024));
}

// Grows within its class, then from class to class.
__attribute__((noinline)) static void grown(int count)
{
    for (int i = 0; i < count; i++) {
        char *buffer = NULL;
        for (int size = 600; size <= 900; size += 20)
            buffer = realloc(buffer, size);
        lose(buffer);
    }
}

// Grows as a block does, in place where there is room.
__attribute__((noinline)) static void grown_block(int count)
{
    for (int i = 0; i < count; i++) {
        char *buffer = malloc(40000);
        for (int size = 50000; size <= 150000; size += 10000)
            buffer = realloc(buffer, size);
        lose(buffer);
    }
}

__attribute__((noinline)) static void page(int count)
{
    for (int i = 0; i < count; i++)
        lose(malloc(4000));
}

__attribute__((noinline)) static void large(int count)
{
    for (int i = 0; i < count; i++)
        lose(malloc(200000));
}

__attribute__((noinline)) static void largest(int count)
{
    for (int i = 0; i < count; i++)
        lose(malloc(1 << 20));
}

// Many at once, most of them freed again in the order in which they came.
__attribute__((noinline)) static void burst(int count)
{
    static void *held[1000];
    for (int round = 0; round < count / 10; round++) {
        for (int i = 0; i < 1000; i++)
            held[i] = malloc(48);
        for (int i = 0; i < 1000; i++) {
            if (i % 100 == round % 100)
                lose(held[i]);
            else
                free(held[i]);
        }
        memset(held, 0, sizeof held);
    }
}

__attribute__((noinline)) static void threaded(int count)
{
    for (int i = 0; i < count; i++)
        lose(malloc(64));
}

static void *thread(void *count)
{
    threaded((int)(long)count);
    return NULL;
}

// Allocated here, freed by another thread.
static void *handed[2000];

static void *take(void *unused)
{
    for (int i = 0; i < 2000; i++) {
        free(handed[i]);
        handed[i] = NULL;
    }
    return unused;
}

__attribute__((noinline)) static void hand_over(void)
{
    pthread_t other;
    for (int i = 0; i < 2000; i++)
        handed[i] = malloc(700);
    pthread_create(&other, NULL, take, NULL);
    pthread_join(other, NULL);
}

// Overwrites what the calls above left on the stack.
__attribute__((noinline)) static void clear(void)
{
    volatile char room[16384];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

// Writes one byte too many, or into a buffer that was freed and is handed out again later.
static int misuse(const char *kind)
{
    char *buffer = malloc(24), *block = malloc(900000);
    if (!strcmp(kind, "overflow"))
        buffer[24] = 1;
    free(buffer);
    free(block);
    if (!strcmp(kind, "late"))
        block[100] = 1;
    for (int i = 0; i < 100; i++)
        free(malloc(900000));
    return 0;
}

int main(int count, char **arguments)
{
    pthread_t threads[2];
    if (count > 1)
        return misuse(arguments[1]);
    smallest(400000);
    paired(40000);
    second(40000);
    zeroed(5000);
    aligned(5000);
    grown(5000);
    page(3000);
    grown_block(100);
    large(100);
    largest(20);
    burst(40000);
    pthread_create(&threads[0], NULL, thread, (void *)100000);
    pthread_create(&threads[1], NULL, thread, (void *)100000);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    hand_over();
    clear();
    puts("ready");
    fflush(stdout);
    getchar();
    return 0;
}
