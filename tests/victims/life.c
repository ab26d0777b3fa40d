// flags: -g -O1 -fno-builtin -pthread
/*
 * The life of a process around the allocator, one situation an argument. Each ends with "ok" or says what broke.
 *
 *   handler N  N times fork in a handler of a signal that interrupts the allocator again and again
 *   _fork N  N children of _Fork, which runs no handlers, while threads allocate; they allocate as well
 *   malloc N  N times malloc and its kin in such a handler, which is not allowed and happens; contents are right
 *   crowd N R  N threads allocate while the process forks and spawns; children allocate, have threads, and fork
 *   last     the main thread leaves by pthread_exit; the process ends with its last thread, and soon
 *   setuid   setuid, for which libc asks every thread
 *   threads  many threads that live shortly; what they keep does not grow with their number
 *   alone    a program that has no threads has none of ours, whatever it frees
 *   back N   memory goes back within the interval, with N threads that do nothing
 *   keep KB  an idle thread keeps no more than UMEM_OPTIONS allows, 300 KB by default
 *   contend  threads wait for the same depots for some seconds, so that magazines grow while they are in use
 *   twice    a second free right after the first
 *   storm N  N forks while threads allocate; parent and child go on
 *   sums     32 threads free each other's buffers of all sizes; contents are right, and the counters add up
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "account.h"

static void fail(const char *what)
{
    write(1, what, strlen(what));
    write(1, "\n", 1);
    _exit(1);
}

static void nap(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&time, &time))
        ;
}

static long resident(void)
{
    long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
        fail("statm");
    fclose(file);
    return pages * 4096;
}

static int threads_of_process(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* Sizes of all layers: magazines, slabs, arenas, blocks. */
static void churn(unsigned seed, int rounds)
{
    static __thread void *held[64];
    for (int i = 0; i < rounds; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned at = seed >> 16 & 63;
        free(held[at]);
        size_t size = seed >> 8 & 7 ? 16 + (seed >> 11 & 4095) : 100000 + (seed >> 4 & 0xfffff);
        held[at] = malloc(size);
        if (!held[at])
            fail("no memory");
        memset(held[at], (int)at, 16);
        if (((char *)held[at])[15] != (char)at)
            fail("contents changed");
    }
    for (int i = 0; i < 64; i++) {
        free(held[i]);
        held[i] = NULL;
    }
}

static volatile int forks;

/* The next signal comes so many microseconds later: it is asked for when the last one was served, so that what it
   interrupts makes progress however long that takes. */
static void tick_in(long microseconds)
{
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, microseconds}}, NULL);
}

static void reap(pid_t child)
{
    int status;
    for (int tries = 0; waitpid(child, &status, WNOHANG) == 0; tries++) {
        if (tries > 10000) {
            kill(child, SIGKILL);
            fail("a child hangs");
        }
        struct timespec time = {0, 1000000};
        nanosleep(&time, NULL);
    }
    if (status)
        fail("a child failed");
}

static void fork_in_handler(int signal)
{
    (void)signal;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child > 0)
        reap(child);
    forks++;
    tick_in(1000);
}

static void ticking(void (*handler)(int), long microseconds)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    tick_in(microseconds);
}

static void check_handler(char **arguments)
{
    ticking(fork_in_handler, 1000);
    for (unsigned seed = 1; forks < atoi(arguments[2]); seed++)
        churn(seed, 2000);
    tick_in(0);
}

static volatile int stop;

static void *churn_until_stopped(void *seed)
{
    for (unsigned i = 0; !stop; i++)
        churn((unsigned)(uintptr_t)seed + i, 200);
    return NULL;
}

static void check_bare_fork(char **arguments)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, churn_until_stopped, (void *)(i * 1000));
    for (int i = 0; i < atoi(arguments[2]); i++) {
        churn((unsigned)i, 50);
        pid_t child = _Fork();
        if (child == 0) {
            churn(7, 2000);
            _exit(0);
        }
        reap(child);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* What the handler leaves to the program, and the program to the handler. */
static unsigned char *_Atomic handed[64];
static volatile int handled;
static int exchanges;

static unsigned char *filled(unsigned char *buffer, size_t size, int tag)
{
    if (!buffer)
        fail("no memory in a handler");
    buffer[0] = buffer[size - 1] = (unsigned char)tag;
    return buffer;
}

static void expect_tag(const unsigned char *buffer, size_t size, int tag)
{
    if (buffer[0] != (unsigned char)tag || buffer[size - 1] != (unsigned char)tag)
        fail("contents changed");
}

static void malloc_in_handler(int signal)
{
    enum { COUNT = 12 };
    static const size_t sizes[COUNT] = {1, 40, 40, 40, 300, 300, 1000, 5000, 5000, 16384, 20000, 40};
    unsigned char *held[COUNT];
    (void)signal;
    for (int i = 0; i < COUNT; i++)
        held[i] = filled(i % 3 ? malloc(sizes[i]) : calloc(1, sizes[i]), sizes[i], handled + i);
    for (int i = 0; i < COUNT; i++)
        expect_tag(held[i], sizes[i], handled + i);
    held[4] = realloc(held[4], 900);
    held[4][899] = held[4][0];
    expect_tag(held[4], 900, handled + 4);
    if (malloc_usable_size(held[4]) < 900)
        fail("malloc_usable_size");
    for (int i = 0; i < COUNT; i++)
        free(held[i]);
    if (exchanges) {
        unsigned char *made = filled(malloc(100), 100, handled);
        free(atomic_exchange(&handed[handled % 64], made));
    }
    handled++;
    tick_in(200);
}

static void check_malloc_in_handler(char **arguments)
{
    int most = atoi(arguments[2]);
    /* In production what a handler keeps or frees may be what the interrupted call has in its hands, as with other allocators. */
    exchanges = getenv("UMEM_DEBUG") != NULL;
    ticking(malloc_in_handler, 200);
    for (unsigned seed = 1; handled < most; seed++) {
        churn(seed, 300);
        if (exchanges) {
            unsigned char *made = malloc(100);
            free(atomic_exchange(&handed[seed % 64], made));
        }
    }
    tick_in(0);
    for (int i = 0; i < 64; i++)
        free(handed[i]);
}

/* What a child may do: allocate, start a thread that does, and fork. */
static void live_as_child(unsigned seed, int with_threads)
{
    churn(seed, 500);
    if (with_threads) {
        pthread_t thread;
        int status;
        stop = 0;
        if (pthread_create(&thread, NULL, churn_until_stopped, NULL))
            fail("pthread_create in a child");
        pid_t child = fork();
        if (child == 0) {
            churn(seed, 100);
            _exit(0);
        }
        if (waitpid(child, &status, 0) != child || status)
            fail("a grandchild failed");
        stop = 1;
        pthread_join(thread, NULL);
    }
    _exit(0);
}

/* So many threads leave the others something of the processor. */
static void *churn_with_pauses(void *seed)
{
    for (unsigned i = 0; !stop; i++) {
        churn((unsigned)(uintptr_t)seed + i, 50);
        nap(2);
    }
    return NULL;
}

static void check_crowd(char **arguments)
{
    enum { MOST = 400 };
    extern char **environ;
    static pthread_t threads[MOST];
    int count = atoi(arguments[2]);
    unsigned rounds = (unsigned)atoi(arguments[3]);
    for (intptr_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, churn_with_pauses, (void *)(i * 1000)))
            fail("pthread_create");
    for (unsigned i = 0; i < rounds; i++) {
        for (int way = 0; way < 4; way++) {
            char *true_arguments[] = {"true", NULL};
            pid_t child = -1;
            int status = 0;
            churn(i, 10);
            switch (way) {
            case 0:
                if ((child = fork()) == 0)
                    live_as_child(i, 1);
                break;
            case 1:
                if ((child = _Fork()) == 0)
                    live_as_child(i, 0);
                break;
            case 2:
                if ((child = vfork()) == 0)
                    _exit(0);
                break;
            default:
                if (posix_spawnp(&child, "true", NULL, NULL, true_arguments, environ))
                    fail("posix_spawnp");
            }
            if (child < 0 || waitpid(child, &status, 0) != child || status)
                fail("a child failed");
        }
    }
    stop = 1;
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void *last_thread(void *nothing)
{
    churn(3, 10000);
    nap(200);
    write(1, "ok\n", 3);
    return nothing;
}

static void check_last(void)
{
    pthread_t thread;
    churn(1, 1000);
    pthread_create(&thread, NULL, last_thread, NULL);
    pthread_detach(thread);
    pthread_exit(NULL);
}

static void check_setuid(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, churn_until_stopped, NULL);
    for (int i = 0; i < 50; i++) {
        churn((unsigned)i, 1000);
        if (setuid(getuid()) || setgid(getgid()))
            fail("setuid");
    }
    stop = 1;
    pthread_join(thread, NULL);
}

static void *short_life(void *seed)
{
    churn((unsigned)(uintptr_t)seed, 100);
    return NULL;
}

static void check_threads(char **arguments)
{
    long count = atol(arguments[2]);
    long before = 0;
    for (long i = 0; i < count; i++) {
        pthread_t threads[4];
        for (int j = 0; j < 4; j++)
            if (pthread_create(&threads[j], NULL, short_life, (void *)(i * 4 + j)))
                fail("pthread_create");
        for (int j = 0; j < 4; j++)
            pthread_join(threads[j], NULL);
        if (i == count / 10)
            before = resident();
    }
    if (resident() > before + (16 << 20))
        fail("memory grew with the number of threads");
}

static void check_alone(void)
{
    for (unsigned seed = 0; seed < 50; seed++) {
        churn(seed, 2000);
        nap(50);
    }
    if (threads_of_process() != 1)
        fail("there is a thread that the program did not make");
}

static void *idle(void *nothing)
{
    free(malloc(10));
    pause();
    return nothing;
}

/* 100 MB in buffers of all sizes, freed in another order. */
static void check_back(char **arguments)
{
    enum { SIZES = 6 };
    static const size_t sizes[SIZES] = {64, 300, 1000, 16000, 100000, 3000000};
    int with_threads = atoi(arguments[2]) > 0;
    for (int i = atoi(arguments[2]); i > 0; i--) {
        pthread_t thread;
        pthread_create(&thread, NULL, idle, NULL);
    }
    nap(100);
    free(malloc(32));
    for (int which = 0; which < SIZES; which++) {
        long count = 100000000 / (long)sizes[which];
        void **held = malloc(count * sizeof *held);
        memset(held, 0, count * sizeof *held);
        long before = resident();
        for (long i = 0; i < count; i++)
            memset(held[i] = malloc(sizes[which]), 1, sizes[which]);
        if (resident() < before + 90000000)
            fail("the peak was not reached");
        unsigned state = 1;
        for (long i = count - 1; i > 0; i--) {
            state = state * 1103515245u + 12345u;
            long other = (state >> 4) % (i + 1);
            void *swap = held[i];
            held[i] = held[other];
            held[other] = swap;
        }
        for (long i = 0; i < count; i++)
            free(held[i]);
        long freed = resident();
        /* The interval is one second. */
        nap(1500);
        /* A call that needs nothing but the thread's own magazine. */
        if (!with_threads)
            free(malloc(32));
        long after = resident();
        if (after > before + 12000000) {
            char text[200];
            snprintf(text, sizeof text, "size %zu: %ld before, %ld when freed, %ld later", sizes[which], before, freed, after);
            fail(text);
        }
        free(held);
    }
}

static void *fill_and_sleep(void *nothing)
{
    enum { EACH = 400 };
    static __thread void *held[EACH];
    for (size_t size = 16; size <= 16384; size += 16 + size / 4) {
        for (int i = 0; i < EACH; i++)
            memset(held[i] = malloc(size), 1, size);
        for (int i = 0; i < EACH; i++)
            free(held[i]);
    }
    pause();
    return nothing;
}

static void check_keep(char **arguments)
{
    enum { THREADS = 100 };
    long before = resident();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, fill_and_sleep, NULL);
        nap(5);
    }
    nap(2000);
    long each = (resident() - before) / THREADS;
    /* The limit is 128 KiB of magazines; stack and records come on top, and slabs that a round keeps alive. */
    if (each > (arguments[2] ? atol(arguments[2]) : 300) << 10) {
        char text[100];
        snprintf(text, sizeof text, "%ld bytes a thread", each);
        fail(text);
    }
}

static void check_twice(char **arguments)
{
    size_t size = (size_t)atol(arguments[2]);
    char *buffer = malloc(size);
    free(malloc(size));
    free(buffer);
    free(buffer);
}

static void check_storm(char **arguments)
{
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, churn_until_stopped, (void *)(i * 1000));
    for (long i = atol(arguments[2]); i > 0; i--) {
        churn((unsigned)i, 5);
        pid_t child = fork();
        if (child == 0) {
            churn((unsigned)i, 20);
            _exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            fail("a child failed");
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* Batches of more than a magazine, so that each goes to the depot and back. */
static void *contend(void *number)
{
    enum { BATCH = 300 };
    unsigned char *held[BATCH];
    for (unsigned tag = (unsigned)(uintptr_t)number; !stop; tag += 13) {
        for (int i = 0; i < BATCH; i++) {
            held[i] = malloc(40);
            memset(held[i], (int)(tag + i), 40);
        }
        for (int i = 0; i < BATCH; i++)
            if (held[i][0] != (unsigned char)(tag + i) || held[i][39] != (unsigned char)(tag + i))
                fail("contents changed");
        /* One more or less each time, so that magazines end up half full. */
        for (int i = 0; i < BATCH; i++)
            free(held[i]);
        free(malloc(41 + tag % 7));
    }
    return NULL;
}

static void check_contend(void)
{
    enum { THREADS = 12 };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, contend, (void *)(i * 17));
    nap(4000);
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

struct item {
    size_t size;
    uint64_t sum;
    unsigned char bytes[];
};

enum { PLACES = 4096 };
static struct item *places[PLACES];

static uint64_t sum_of(const struct item *item)
{
    uint64_t sum = item->size;
    /* The first and last bytes, and some between. */
    for (size_t i = 0; i < item->size; i += i < 64 ? 1 : item->size / 50 + 1)
        sum = sum * 31 + item->bytes[i];
    return sum * 31 + item->bytes[item->size - 1];
}

static struct item *make_item(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    size_t size = 1 + (*seed >> 4 & (*seed >> 28 ? 0x3ff : 0x3ffff));
    struct item *item = malloc(sizeof *item + size);
    if (!item)
        fail("no memory");
    item->size = size;
    memset(item->bytes, (int)(*seed >> 16), size);
    item->sum = sum_of(item);
    return item;
}

static void end_item(struct item *item)
{
    if (item && item->sum != sum_of(item))
        fail("contents changed");
    free(item);
}

static void *exchange(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number * 7919 + 1;
    for (int i = 0; i < 20000; i++) {
        struct item *mine = make_item(&seed);
        end_item(__atomic_exchange_n(&places[seed >> 8 & (PLACES - 1)], mine, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void check_sums(void)
{
    enum { THREADS = 32 };
    pthread_t threads[THREADS];
    size_t before = 0, after = 0;
    for (int round = 0; round < 2; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], NULL, exchange, (void *)i))
                fail("pthread_create");
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < PLACES; i++) {
            end_item(places[i]);
            places[i] = NULL;
        }
        /* libc keeps some structures of the threads of the first round for the second. */
        before = after;
        after = mallinfo2().uordblks;
    }
    if (after != before) {
        char text[100];
        snprintf(text, sizeof text, "in use: %zu, then %zu", before, after);
        fail(text);
    }
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "handler"))
        check_handler(arguments);
    else if (!strcmp(what, "_fork"))
        check_bare_fork(arguments);
    else if (!strcmp(what, "malloc"))
        check_malloc_in_handler(arguments);
    else if (!strcmp(what, "crowd"))
        check_crowd(arguments);
    else if (!strcmp(what, "last"))
        check_last();
    else if (!strcmp(what, "setuid"))
        check_setuid();
    else if (!strcmp(what, "threads"))
        check_threads(arguments);
    else if (!strcmp(what, "alone"))
        check_alone();
    else if (!strcmp(what, "back"))
        check_back(arguments);
    else if (!strcmp(what, "keep"))
        check_keep(arguments);
    else if (!strcmp(what, "storm"))
        check_storm(arguments);
    else if (!strcmp(what, "sums"))
        check_sums();
    else if (!strcmp(what, "contend"))
        check_contend();
    else if (!strcmp(what, "twice"))
        check_twice(arguments);
    else
        fail("unknown situation");
    end_with_account();
}
