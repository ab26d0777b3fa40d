/*
 * Loads a library and calls its function, which leaks, closes it, and does the same with another one that comes to lie at the same address.
 * A third argument names a library to load again after that.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *use(const char *path, int bytes)
{
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void (*leak)(int) = (void (*)(int))dlsym(library, "leak");
    void *at = dlsym(library, "leak");
    leak(bytes);
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
    for (int i = 1; i < count; i++) {
        void *at = use(args[i], 1000 + i);
        if (first != NULL && at != first) {
            fprintf(stderr, "%s lies elsewhere\n", args[i]);
            return 1;
        }
        first = at;
    }
    first = NULL;
    wipe();
    write(1, "ready\n", 6);
    getchar();
    return 0;
}
