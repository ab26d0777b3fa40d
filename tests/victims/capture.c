// flags: -g -O2 -fno-builtin -fomit-frame-pointer
/*
 * "still N" allocates and frees N times under 30 frames, always from the same place; "moving N" with another stack pointer each time, so that no
 * earlier capture helps.
 */
#include <alloca.h>
#include <stdlib.h>
#include <string.h>

#define CALLED __attribute__((noinline, noclone))

static volatile unsigned long sum;

CALLED static void at(long n)
{
    char *room = alloca(16 * (n % 1021) + 16);
    room[0] = 1;
    sum += (unsigned long)room;
    void *pointer = malloc(64);
    sum += (unsigned long)pointer;
    free(pointer);
    sum++;
}

CALLED static void descend(int levels, int moves, long pairs)
{
    if (levels > 0)
        descend(levels - 1, moves, pairs);
    else
        for (long i = 0; i < pairs; i++)
            at(moves ? i : 0);
    sum++;
}

int main(int count, char **args)
{
    if (count > 2)
        descend(30, strcmp(args[1], "moving") == 0, atol(args[2]));
    return 0;
}
