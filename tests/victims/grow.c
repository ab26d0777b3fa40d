// flags: -g -O0 -fno-builtin -Wno-unused-but-set-variable
/*
 * Keeps ten buffers of 100 bytes. For every byte on standard input keeps five more, loses two of 64 bytes unless it
 * is a k, and answers with the byte's successor.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *kept[1000];
static int count;
static void *volatile never;

__attribute__((noinline)) static void keep(void) { kept[count++] = malloc(100); }
__attribute__((noinline)) static void lose(void) { void *volatile lost = malloc(64); lost = never; }

__attribute__((noinline)) static void scrub(void)
{
    volatile char stack[16384];
    memset((void *)stack, 0, sizeof stack);
}

int main(void)
{
    char byte;
    for (int i = 0; i < 10; i++)
        keep();
    scrub();
    write(1, "ready\n", 6);
    while (count < 900 && read(0, &byte, 1) == 1) {
        for (int i = 0; i < 5; i++)
            keep();
        for (int i = 0; byte != 'k' && i < 2; i++)
            lose();
        scrub();
        byte++;
        write(1, &byte, 1);
    }
    return 0;
}
