/* A library for closing.c, built with -DNAME=..: leak() loses memory through a function of that name. */
#include <stdlib.h>

static volatile unsigned long sum;

__attribute__((noinline)) static void NAME(int bytes)
{
    sum += (unsigned long)malloc(bytes);
    sum++;
}

void leak(int bytes)
{
    NAME(bytes);
    sum++;
}
