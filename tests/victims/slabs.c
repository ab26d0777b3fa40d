// flags: -g -O0 -fno-builtin
/*
 * slabs ACTION WHERE SIZE FIELD VALUE OFFSETS: overwrites a pointer in the structure of a slab, as a stray pointer may, and goes on
 * with the slab's buffers. FIELD is an offset, SIZE that of the field; VALUE is a number, or where it points to. WHERE is the size of the
 * buffers. Where things are the test says, by offsets in the order of the enumeration.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT_UNIT, ROOT_REGIONS, REGION_BASE, REGION_SLABS, SLAB_SIZE, SLAB_DELTA, OFFSETS };
enum { MANY = 3000 };

static long offsets[OFFSETS];

static char *pointer(char *structure, int field) { return *(char **)(structure + offsets[field]); }

int main(int argc, char **argv)
{
    if (argc != 6 + OFFSETS)
        return 2;
    for (int i = 0; i < OFFSETS; i++)
        offsets[i] = atol(argv[6 + i]);
    char *action = argv[1], *value = argv[5], *p = NULL;
    size_t buffer = atol(argv[2]), size = atol(argv[3]), field = atol(argv[4]);
    for (int i = 0; i < 4; i++)
        p = malloc(buffer);
    char *root = dlsym(RTLD_DEFAULT, "umem_root"), *region = pointer(root, ROOT_REGIONS);
    size_t unit = (p - pointer(region, REGION_BASE)) / *(uint64_t *)(root + offsets[ROOT_UNIT]);
    char *slot = pointer(region, REGION_SLABS) + unit * offsets[SLAB_SIZE], *slab = slot;
    slab -= *(uint32_t *)(slab + offsets[SLAB_DELTA]) * offsets[SLAB_SIZE];
    if ((size == 4) != (slot != slab))
        return 3;
    uint64_t word = !strcmp(value, "stack") ? (uintptr_t)&word
        : !strcmp(value, "self")            ? (uintptr_t)slab
        : !strcmp(value, "buffer")          ? (uintptr_t)p + 1
                                            : strtoull(value, NULL, 0);
    memcpy((size == 4 ? slot : slab) + field, &word, size);
    if (!strcmp(action, "free")) free(p);
    else if (!strcmp(action, "realloc")) p = realloc(p, 2 * buffer);
    else if (!strcmp(action, "usable")) malloc_usable_size(p), free(p);
    else if (!strcmp(action, "verify")) ((void (*)(void))dlsym(RTLD_DEFAULT, "umem_verify"))();
    else if (strcmp(action, "allocate")) return 4;
    if (!strcmp(action, "verify"))
        return 0;
    size_t many = buffer < 1000 ? MANY : 20;
    char **all = calloc(many, sizeof *all);
    for (size_t i = 0; i < many; i++)
        all[i] = malloc(buffer);
    for (size_t i = 0; i < many; i++)
        free(all[i]);
    return 0;
}
