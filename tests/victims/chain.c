// flags: -g -O2 -fno-builtin -fomit-frame-pointer
/*
 * Leaks at the ends of known chains of calls, without frame pointers and through libc: straight, through the callback of
 * qsort, through strdup, asprintf and getline. lost() is where the pointers go to be forgotten.
 *
 * Every function does something after its call, so that no call becomes a jump.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLED __attribute__((noinline, noclone))

static volatile unsigned long sum;
static int compared;

CALLED static void lost(void *pointer)
{
    sum += (unsigned long)pointer != 0;
}

CALLED static void last(int size)
{
    lost(malloc(size));
    sum++;
}

CALLED static void middle(int size)
{
    last(size);
    sum++;
}

CALLED static void first(int size)
{
    middle(size);
    sum++;
}

CALLED static int compare(const void *a, const void *b)
{
    if (compared++ == 0) {
        last(210);
        sum++;
    }
    return *(const int *)a - *(const int *)b;
}

CALLED static void sort(void)
{
    int numbers[] = {2, 1};
    qsort(numbers, 2, sizeof numbers[0], compare);
    sum++;
}

CALLED static void duplicate(void)
{
    lost(strdup("sixteen letters and some more of them, so that the size is no one else's"));
    sum++;
}

CALLED static void print(void)
{
    char *text = NULL;
    if (asprintf(&text, "%s", "a text") > 0)
        lost(text);
    text = NULL;
    sum++;
}

/* The pipe holds one line and getline allocates for it. */
CALLED static void read_line(void)
{
    static char space[256];
    static const char text[] = "a line\n";
    char *line = NULL;
    size_t size = 0;
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], text, sizeof text - 1) < 0)
        return;
    FILE *file = fdopen(ends[0], "r");
    setvbuf(file, space, _IOFBF, sizeof space);
    if (getline(&line, &size, file) > 0)
        lost(line);
    line = NULL;
    fclose(file);
    close(ends[1]);
    sum++;
}

/* Overwrites what the functions above left in registers and on the stack. */
CALLED static void wipe(void)
{
    char space[65536];
    memset(space, 0, sizeof space);
    lost(space);
}

CALLED static void done(void)
{
    write(1, "ready\n", 6);
    sum++;
}

int main(void)
{
    first(200);
    sort();
    duplicate();
    print();
    read_line();
    wipe();
    done();
    pause();
    return 0;
}
