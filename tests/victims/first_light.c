/*
 * A leak and a write to freed memory, with a buffer beside them that is neither.
 *
 * main keeps its 50 bytes in a local. test_leak_malloc loses 50 bytes by overwriting the only pointer.
 * test_UAF writes one byte to 50 bytes that it has freed, and nobody allocates that size afterwards, so
 * that the damage stays to be found. No stdio: it would allocate.
 *
 * first_light             waits for a signal after its marker
 * first_light --return    returns from main instead
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_leak_malloc(void)
{
    char *buf = malloc(50);
    buf = malloc(100);
    free(buf);
}

static void test_UAF(void)
{
    char *buf = malloc(50);
    free(buf);
    buf[20] = 'X';
}

int main(int argc, char **argv)
{
    char *volatile kept = malloc(50);
    test_leak_malloc();
    test_UAF();
    write(1, "ready\n", 6);
    if (argc > 1 && strcmp(argv[1], "--return") == 0)
        return 0;
    pause();
    return kept == NULL;
}
