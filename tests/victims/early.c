/*
 * Calls malloc before the library's constructor can have run: from .preinit_array and from the resolver of an
 * indirect function. Those buffers are freed and resized much later.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *from_preinit;

static void preinit(void)
{
    from_preinit = malloc(40);
    strcpy(from_preinit, "early");
}

__attribute__((section(".preinit_array"), used)) static void (*const entry)(void) = preinit;

static int implementation(void)
{
    return 7;
}

/* Bound while ld.so relocates the program: it can see no other data of the program yet. */
static int (*resolve(void))(void)
{
    free(malloc(24));
    return implementation;
}

int indirect(void) __attribute__((ifunc("resolve")));

int main(void)
{
    if (indirect() != 7 || from_preinit == NULL)
        return 1;
    from_preinit = realloc(from_preinit, 4000);
    if (strcmp(from_preinit, "early") != 0)
        return 2;
    free(from_preinit);
    write(1, "ok\n", 3);
    return 0;
}
