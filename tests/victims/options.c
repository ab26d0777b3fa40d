// flags: -g -O1 -fno-builtin
/*
 * What UMEM_OPTIONS does, seen from a program.
 *
 *   options sizes SIZE...   prints the usable size of a buffer of each size
 *   options place           prints in which of two holes the next blocks go
 *   options twice           frees a buffer twice, another one in between: the slab notices, a magazine does not
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_sizes(int count, char **arguments)
{
    for (int i = 0; i < count; i++) {
        void *buffer = malloc(strtoul(arguments[i], NULL, 10));
        printf("%zu%c", malloc_usable_size(buffer), i + 1 < count ? ' ' : '\n');
        free(buffer);
    }
}

/* A large hole and a small one. In which of them does a block go that fits both, three times one after the other? */
static void print_place(void)
{
    enum { PAGE = 4096, SMALL = 5 << 20, LARGE = 50 << 20 };
    char *blocks[6];
    for (int i = 0; i < 6; i++)
        blocks[i] = malloc(i == 1 ? LARGE : SMALL);
    char *large = blocks[1], *small = blocks[3];
    free(blocks[1]);
    free(blocks[3]);
    for (int i = 0; i < 3; i++) {
        char *block = malloc(SMALL - PAGE);
        printf("%s%c", block == small ? "small" : block >= large && block < large + LARGE ? "large" : "elsewhere", i < 2 ? ' ' : '\n');
        free(block);
    }
}

static void free_twice(void)
{
    char *first = malloc(100), *second = malloc(100);
    free(first);
    free(second);
    free(first);
    puts("not noticed");
    fflush(stdout);
    _exit(0);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "sizes"))
        print_sizes(count - 2, arguments + 2);
    else if (!strcmp(what, "place"))
        print_place();
    else if (!strcmp(what, "twice"))
        free_twice();
    else
        return 2;
    return 0;
}
