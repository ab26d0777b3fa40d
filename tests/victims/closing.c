/*
 * Loads a library and calls its function, which leaks, closes it, and does the same with another one that comes to lie at the same address.
 * With "-2" as first argument what the first one lost is freed twice in the end.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *lost;

static void *use(const char *path, int bytes)
{
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void *(*leak)(int) = (void *(*)(int))dlsym(library, "leak");
    void *at = dlsym(library, "leak");
    void *here = leak(bytes);
    if (bytes == 1000)
        lost = here;
    dlclose(library);
    return at;
}

/* Overwrites what is left in registers and on the stack. */
static void wipe(void)
{
    char space[65536];
    memset(space, 0, sizeof space);
    write(-1, space, sizeof space);
}

int main(int count, char **args)
{
    void *first = NULL;
    int twice = strcmp(args[1], "-2") == 0;
    for (int i = 1 + twice; i < count; i++) {
        void *at = use(args[i], i == 2 && twice ? 1000 : 1000 + i);
        if (first != NULL && at != first) {
            fprintf(stderr, "%s lies elsewhere\n", args[i]);
            return 1;
        }
        first = at;
    }
    first = NULL;
    if (twice) {
        free(lost);
        free(lost);
    }
    wipe();
    write(1, "ready\n", 6);
    getchar();
    return 0;
}
