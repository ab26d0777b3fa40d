// flags: -g -O0 -fno-builtin
/*
 * scribble KIND MISUSE: overwrites a part of the allocator's own data, as a stray pointer may, and then frees a buffer twice, or
 * one that was written past its end. Where things are the test says, by offsets in the order of the enumeration.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT_UNIT, ROOT_REGIONS, ROOT_THREADS, ROOT_LOGS, ROOT_DEPOT, REGION_BASE, REGION_SLABS, SLAB_SIZE, SLAB_DELTA, SLAB_CACHE,
       SLAB_BASE, SLAB_RECORDS, SLAB_CHUNK, CACHE_NAME, CACHE_TRAILER, CACHE_SIZE, RECORD_SIZE, RECORD_REQUESTED, LOG_BASE, OFFSETS };

static long offsets[OFFSETS];

static char *pointer(char *structure, int field) { return *(char **)(structure + offsets[field]); }
static uint32_t number(char *structure, int field) { return *(uint32_t *)(structure + offsets[field]); }

int main(int argc, char **argv)
{
    if (argc != 3 + OFFSETS)
        return 2;
    for (int i = 0; i < OFFSETS; i++)
        offsets[i] = atol(argv[3 + i]);
    char *kind = argv[1], *volatile p = malloc(24);
    char *root = dlsym(RTLD_DEFAULT, "umem_root"), *region = pointer(root, ROOT_REGIONS);
    uint64_t unit = (p - pointer(region, REGION_BASE)) / *(uint64_t *)(root + offsets[ROOT_UNIT]);
    char *slab = pointer(region, REGION_SLABS) + unit * offsets[SLAB_SIZE];
    slab -= number(slab, SLAB_DELTA) * offsets[SLAB_SIZE];
    char *cache = pointer(slab, SLAB_CACHE);
    char *record = pointer(slab, SLAB_RECORDS) + (p - pointer(slab, SLAB_BASE)) / number(slab, SLAB_CHUNK) * offsets[RECORD_SIZE];
    if (number(record, RECORD_REQUESTED) != 24)
        return 3;
    int twice = !strcmp(argv[2], "twice");
    if (twice)
        free(p);
    if (!strcmp(kind, "record")) memset(record, 0x41, offsets[RECORD_SIZE]);
    else if (!strcmp(kind, "cache")) memset(cache, 0x41, offsets[CACHE_SIZE]);
    else if (!strcmp(kind, "name")) memset(cache + offsets[CACHE_NAME], 0x41, 32);
    else if (!strcmp(kind, "trailer")) memset(cache + offsets[CACHE_TRAILER], 0x41, 8);
    else if (!strcmp(kind, "slab")) memset(slab, 0x41, offsets[SLAB_SIZE]);
    else if (!strcmp(kind, "chunk")) memset(slab + offsets[SLAB_CHUNK], 0x41, 4);
    else if (!strcmp(kind, "depot")) memset(pointer(root, ROOT_DEPOT), 0x41, 4096);
    else if (!strcmp(kind, "thread")) memset(pointer(root, ROOT_THREADS), 0x41, 64);
    else if (!strcmp(kind, "log")) memset(pointer(root, ROOT_LOGS), 0x41, 48);
    else if (!strcmp(kind, "entries")) memset(pointer(pointer(root, ROOT_LOGS), LOG_BASE), 0x41, 4096);
    else if (!strcmp(kind, "around")) memset(p + 16, 0x41, 64);
    else return 4;
    if (!twice)
        p[24] = 1;
    free(p);
    return 0;
}
