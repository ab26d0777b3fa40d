/* A library for closing.c, built with -DNAME=..: leak() loses memory through a function of that name. It returns where. */
#include <stdlib.h>

static volatile unsigned long sum;

__attribute__((noinline)) static void *NAME(int bytes)
{
    void *lost = malloc(bytes);
    sum++;
    return lost;
}

void *leak(int bytes)
{
    void *lost = NAME(bytes);
    sum++;
    return lost;
}
