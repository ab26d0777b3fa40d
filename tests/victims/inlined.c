// flags: -g -O2 -fno-builtin -fno-optimize-sibling-calls
/*
 * Functions without code of their own: outer() holds that of middle(), which holds that of inner(), which allocates a buffer
 * that is lost. At the end outer_wait() holds that of inner_wait().
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INLINED static inline __attribute__((always_inline))
#define CALLED __attribute__((noinline, noclone))

static volatile unsigned long sum;

CALLED static void lost(void *pointer)
{
    sum += (unsigned long)pointer != 0;
}

INLINED void inner(size_t size)
{
    void *pointer = malloc(size);
    sum++;
    lost(pointer);
}

INLINED void middle(size_t size)
{
    inner(size + 1);
}

CALLED static void outer(size_t size)
{
    middle(size);
    sum++;
}

INLINED void inner_wait(void)
{
    for (;;)
        pause();
}

CALLED static void outer_wait(void)
{
    inner_wait();
}

int main(void)
{
    outer(100);
    puts("ready");
    fflush(stdout);
    outer_wait();
    return 0;
}
