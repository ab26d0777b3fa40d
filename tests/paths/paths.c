/*
 * Allocates and frees at the ends of many chains of calls: of functions with large, aligned and variable frames, through
 * callbacks of libc and functions of libc that allocate, in signal handlers on both kinds of stack, on a stack of makecontext and in threads.
 *
 * begin() stands where a debugger begins to look, and done() where it ends.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define CALLED __attribute__((noinline, noclone))

volatile unsigned long sum;

static void onwards(unsigned way, int levels);

static void use(void *pointer)
{
    sum += (unsigned long)pointer != 0;
    free(pointer);
}

/* ---- where chains end ---- */

CALLED static void take(unsigned way)
{
    use(malloc(way % 300 + 1));
    sum++;
}

CALLED static void take_zeroed(unsigned way)
{
    use(calloc(way % 7 + 1, 24));
    sum++;
}

CALLED static void resize(unsigned way)
{
    void *pointer = malloc(way % 50 + 1);
    use(realloc(pointer, 400));
    sum++;
}

CALLED static void align(unsigned way)
{
    void *pointer = NULL;
    if (posix_memalign(&pointer, 64, way % 100 + 1) == 0)
        use(pointer);
    use(aligned_alloc(32, 64));
    sum++;
}

CALLED static void duplicate(unsigned way)
{
    use(strdup("some text"));
    use(strndup("some other text", way % 9));
    sum++;
}

CALLED static void print(unsigned way)
{
    char *text = NULL;
    if (asprintf(&text, "%u and %s", way, "more") > 0)
        use(text);
    sum++;
}

CALLED static void read_line(unsigned way)
{
    char text[] = "one line\nand another\n", *line = NULL;
    size_t size = 0;
    FILE *file = fmemopen(text, sizeof text - 1, "r");
    for (unsigned i = 0; i <= way % 2; i++)
        if (getline(&line, &size, file) < 0)
            break;
    free(line);
    fclose(file);
    sum++;
}

static void (*const ends[])(unsigned) = {take, take_zeroed, resize, align, duplicate, print, read_line};

/* ---- of what chains are made ---- */

CALLED static void plain(unsigned way, int levels)
{
    onwards(way, levels);
    sum++;
}

CALLED static void large(unsigned way, int levels)
{
    char room[20000];
    memset(room, (int)way, 64);
    onwards(way, levels);
    sum += room[way % 64];
}

CALLED static void aligned(unsigned way, int levels)
{
    char room[256] __attribute__((aligned(128)));
    memset(room, (int)way, sizeof room);
    onwards(way, levels);
    sum += room[way % 256];
}

CALLED static void variable(unsigned way, int levels)
{
    char *room = __builtin_alloca(way % 500 + 1);
    memset(room, (int)way, way % 500 + 1);
    onwards(way, levels);
    sum += room[0];
}

CALLED static void with_many(int a, unsigned b, long c, void *d, int e, int f, int g, unsigned way, int levels, ...)
{
    va_list more;
    va_start(more, levels);
    onwards(way, levels);
    sum += a + b + c + (d != NULL) + e + f + g + va_arg(more, int);
    va_end(more);
}

CALLED static void many(unsigned way, int levels)
{
    with_many(1, 2, 3, &levels, 5, 6, 7, way, levels, 10);
    sum++;
}

static __thread unsigned next_way;
static __thread int next_levels;

static int compare(const void *a, const void *b)
{
    int levels = next_levels;
    next_levels = -1;
    if (levels >= 0)
        onwards(next_way, levels);
    sum++;
    return *(const int *)a - *(const int *)b;
}

CALLED static void sort(unsigned way, int levels)
{
    int numbers[] = {3, 1, 2};
    next_way = way;
    next_levels = levels;
    qsort(numbers, 3, sizeof numbers[0], compare);
    sum += numbers[0];
}

CALLED static void search(unsigned way, int levels)
{
    int numbers[] = {1, 2, 3}, key = 2;
    size_t count = 3;
    next_way = way;
    next_levels = levels;
    sum += lfind(&key, numbers, &count, sizeof numbers[0], compare) != NULL;
}

static void on_signal(int number)
{
    unsigned way = next_way;
    int levels = next_levels;
    onwards(way, levels);
    sum += (unsigned)number;
}

CALLED static void interrupt(unsigned way, int levels)
{
    next_way = way;
    next_levels = levels;
    raise(way % 2 ? SIGUSR1 : SIGUSR2);
    sum++;
}

static ucontext_t here, there;

static void coroutine(void)
{
    unsigned way = next_way;
    int levels = next_levels;
    onwards(way, levels);
    sum++;
}

CALLED static void switch_over(unsigned way, int levels)
{
    static char room[64 << 10];
    static int busy;
    if (busy++ == 0) {
        next_way = way;
        next_levels = levels;
        getcontext(&there);
        there.uc_stack.ss_sp = room;
        there.uc_stack.ss_size = sizeof room;
        there.uc_link = &here;
        makecontext(&there, coroutine, 0);
        swapcontext(&here, &there);
    } else {
        onwards(way, levels);
    }
    busy--;
    sum++;
}

static void *work(void *way)
{
    onwards((unsigned)(unsigned long)way, 4);
    sum++;
    return NULL;
}

static void (*const parts[])(unsigned, int) = {
    plain, large, aligned, variable, many, sort, search, interrupt, switch_over, plain,
};

CALLED static void onwards(unsigned way, int levels)
{
    if (levels == 0)
        ends[way % 7](way);
    else
        parts[way % 10](way / 10 * 7 + way % 13, levels - 1);
    sum++;
}

CALLED void begin(void)
{
    sum++;
}

CALLED void done(void)
{
    sum++;
}

int main(void)
{
    static char room[64 << 10];
    stack_t alternate = {.ss_sp = room, .ss_size = sizeof room};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR2, &action, NULL);
    begin();
    unsigned way = 12345;
    for (int i = 0; i < 70; i++) {
        way = way * 1664525 + 1013904223;
        onwards(way >> 4, 1 + i % 6);
    }
    for (int i = 0; i < 8; i++) {
        pthread_t thread;
        way = way * 1664525 + 1013904223;
        pthread_create(&thread, NULL, work, (void *)(unsigned long)(way >> 4));
        pthread_join(thread, NULL);
    }
    done();
    return 0;
}
