/*
 * The whole malloc family, checked call by call against its manual pages. The exit status is the number of the line
 * that failed; nothing failed when it writes ok.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(int line)
{
    char digits[8];
    int at = sizeof digits;
    digits[--at] = '\n';
    for (; line > 0; line /= 10)
        digits[--at] = '0' + line % 10;
    write(2, digits + at, sizeof digits - at);
    _exit(1);
}

#define CHECK(what) do { if (!(what)) fail(__LINE__); } while (0)

static int is_aligned(void *pointer, size_t to)
{
    return (uintptr_t)pointer % to == 0;
}

static int is_filled(unsigned char *bytes, size_t length, unsigned char with)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != with)
            return 0;
    return 1;
}

static const size_t sizes[] = {0, 1, 8, 15, 16, 17, 50, 100, 1000, 4095, 4096, 5000, 20000, 100000, 1 << 20, 40 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };
/* The compiler is not to know that no allocation of this size can succeed. */
static volatile size_t huge = SIZE_MAX - 100;

static void check_malloc(void)
{
    for (int i = 0; i < SIZES; i++) {
        unsigned char *buffer = malloc(sizes[i]);
        CHECK(buffer != NULL);
        CHECK(is_aligned(buffer, 16));
        CHECK(malloc_usable_size(buffer) >= sizes[i]);
        memset(buffer, 0x5a, malloc_usable_size(buffer));
        errno = 42;
        free(buffer);
        CHECK(errno == 42);
    }
    free(NULL);
    errno = 0;
    CHECK(malloc(huge) == NULL && errno == ENOMEM);
    CHECK(malloc_usable_size(NULL) == 0);
}

static void check_calloc(void)
{
    for (int i = 0; i < SIZES; i++) {
        /* What is given back full of something else has to be cleared again. */
        void *dirty = malloc(sizes[i]);
        memset(dirty, 0xff, sizes[i]);
        free(dirty);
        unsigned char *buffer = calloc(1, sizes[i]);
        CHECK(buffer != NULL && is_filled(buffer, sizes[i], 0));
        free(buffer);
    }
    errno = 0;
    CHECK(calloc(huge / 2, 4) == NULL && errno == ENOMEM);
    free(calloc(0, 8));
}

static void check_realloc(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int j = 0; j < SIZES; j++) {
            size_t least = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            unsigned char *buffer = malloc(sizes[i]);
            if (sizes[j] == 0)
                continue;
            memset(buffer, 0x33, sizes[i]);
            buffer = realloc(buffer, sizes[j]);
            CHECK(buffer != NULL && is_aligned(buffer, 16));
            CHECK(is_filled(buffer, least, 0x33));
            CHECK(malloc_usable_size(buffer) >= sizes[j]);
            memset(buffer, 0x44, sizes[j]);
            free(buffer);
        }
    void *fresh = realloc(NULL, 60);
    CHECK(fresh != NULL);
    memset(fresh, 0x55, 60);
    errno = 0;
    CHECK(realloc(fresh, huge) == NULL && errno == ENOMEM);
    CHECK(is_filled(fresh, 60, 0x55));
    errno = 0;
    CHECK(reallocarray(fresh, huge / 2, 4) == NULL && errno == ENOMEM);
    fresh = reallocarray(fresh, 30, 4);
    CHECK(fresh != NULL && is_filled(fresh, 60, 0x55));
    CHECK(realloc(fresh, 0) == NULL);
}

static void check_aligned(void)
{
    void *buffer;
    for (size_t align = 16; align <= 1 << 21; align *= 2)
        for (int i = 0; i < SIZES; i++) {
            buffer = NULL;
            CHECK(posix_memalign(&buffer, align, sizes[i]) == 0 && buffer != NULL);
            CHECK(is_aligned(buffer, align));
            CHECK(malloc_usable_size(buffer) >= sizes[i]);
            memset(buffer, 0x66, sizes[i]);
            free(buffer);
            buffer = memalign(align, sizes[i]);
            CHECK(buffer != NULL && is_aligned(buffer, align));
            memset(buffer, 0x66, sizes[i]);
            free(buffer);
            buffer = aligned_alloc(align, sizes[i]);
            CHECK(buffer != NULL && is_aligned(buffer, align));
            memset(buffer, 0x66, sizes[i]);
            buffer = realloc(buffer, sizes[i] + 300);
            CHECK(buffer != NULL && is_filled(buffer, sizes[i], 0x66));
            free(buffer);
        }
    buffer = &buffer;
    CHECK(posix_memalign(&buffer, 24, 8) == EINVAL && buffer == &buffer);
    CHECK(posix_memalign(&buffer, 4, 8) == EINVAL && buffer == &buffer);
    CHECK(posix_memalign(&buffer, 64, huge) == ENOMEM && buffer == &buffer);
    buffer = valloc(100);
    CHECK(buffer != NULL && is_aligned(buffer, 4096));
    free(buffer);
    buffer = pvalloc(100);
    CHECK(buffer != NULL && is_aligned(buffer, 4096) && malloc_usable_size(buffer) >= 4096);
    memset(buffer, 0x77, 4096);
    free(buffer);
}

int main(void)
{
    check_malloc();
    check_calloc();
    check_realloc();
    check_aligned();
    write(1, "ok\n", 3);
    return 0;
}
