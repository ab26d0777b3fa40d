// flags: -g -O0 -fno-builtin -Wno-unused-but-set-variable
/*
 * Forty pointers in main's frame and one lost buffer; then main returns, or with an argument calls exit. What a returned
 * main held is lost, what main holds while it calls exit is not.
 */
#include <stdlib.h>
#include <string.h>

static void *volatile never;

__attribute__((noinline)) static void *own(void) { return calloc(1, 32); }
__attribute__((noinline)) static void lose(void) { void *volatile lost = calloc(1, 40); lost = never; }

__attribute__((noinline)) static void scrub(void)
{
    volatile char stack[16384];
    memset((void *)stack, 0, sizeof stack);
}

int main(int count, char **words)
{
    void *volatile locals[40];
    for (int i = 0; i < 40; i++)
        locals[i] = own();
    lose();
    scrub();
    if (count > 1 && words[1])
        exit(0);
    return locals[0] == never;
}
