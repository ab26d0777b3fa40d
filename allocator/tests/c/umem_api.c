/*
 * libumem's C API, checked call by call. Without argument: writes ok, or the line that failed. With one: a misuse, which
 * the library has to report.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <umem.h>
#include <unistd.h>

static void fail(int line)
{
    fprintf(stderr, "line %d failed\n", line);
    _exit(1);
}
#define CHECK(what) do { if (!(what)) fail(__LINE__); } while (0)

/* Guards construct and destruct at every turn. */
static int guarded;
/* The compiler is not to know that no allocation of this size can succeed. */
static volatile size_t huge = SIZE_MAX / 2 - 100;

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

/* ---- sized allocation ---- */

static const size_t sizes[] = {1, 8, 15, 16, 17, 64, 100, 576, 1000, 4096, 5000, 8192, 16384, 16385, 100000, 1 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void check_sized(void)
{
    CHECK(umem_alloc(0, UMEM_DEFAULT) == NULL && umem_zalloc(0, UMEM_NOFAIL) == NULL);
    umem_free(NULL, 0);
    umem_free_align(NULL, 0);
    errno = 42;
    CHECK(umem_alloc(huge, UMEM_DEFAULT) == NULL && errno == 42);
    CHECK(umem_alloc_align(huge, 64, UMEM_DEFAULT) == NULL && errno == 42);
    for (int i = 0; i < SIZES; i++) {
        size_t size = sizes[i];
        unsigned char *buffers[40];
        for (int j = 0; j < 40; j++) {
            buffers[j] = j % 2 ? umem_alloc(size, UMEM_DEFAULT) : umem_zalloc(size, UMEM_NOFAIL);
            CHECK(buffers[j] != NULL && is_aligned(buffers[j], size >= 16 ? 16 : 8));
            CHECK(size % 64 || is_aligned(buffers[j], 64));
            CHECK((size % 4096 && size <= 16384) || is_aligned(buffers[j], 4096));
            CHECK(j % 2 || is_filled(buffers[j], size, 0));
            memset(buffers[j], j, size);
        }
        for (int j = 0; j < 40; j++) {
            CHECK(is_filled(buffers[j], size, j));
            umem_free(buffers[j], size);
        }
    }
    CHECK(errno == 42);
}

static void check_aligned(void)
{
    CHECK(umem_alloc_align(0, 64, UMEM_DEFAULT) == NULL);
    CHECK(umem_alloc_align(10, 0, UMEM_DEFAULT) == NULL && umem_alloc_align(10, 24, UMEM_DEFAULT) == NULL);
    for (size_t align = 1; align <= 1 << 20; align *= 4)
        for (int i = 0; i < SIZES; i++) {
            unsigned char *buffer = umem_alloc_align(sizes[i], align, i % 2 ? UMEM_NOFAIL : UMEM_DEFAULT);
            CHECK(buffer != NULL && is_aligned(buffer, align < 8 ? 8 : align));
            memset(buffer, 0x66, sizes[i]);
            umem_free_align(buffer, sizes[i]);
        }
}

/* ---- allocations that may not fail ---- */

static jmp_buf escape;
static int calls;

static int jump(void)
{
    calls++;
    longjmp(escape, 1);
}

static int end_thread(void)
{
    calls++;
    pthread_exit((void *)7);
}

static int end_process(void)
{
    return UMEM_CALLBACK_EXIT(300 + 23);
}

static int nonsense(void)
{
    return 77;
}

static void *need_much(void *nothing)
{
    (void)nothing;
    umem_alloc(huge, UMEM_NOFAIL);
    return NULL;
}

static int status_with(umem_nofail_callback_t *callback)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        umem_nofail_callback(callback);
        need_much(NULL);
        _exit(1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check_nofail(void)
{
    pthread_t thread;
    void *result;
    calls = 0;
    umem_nofail_callback(jump);
    if (setjmp(escape) == 0) {
        umem_alloc(huge, UMEM_NOFAIL);
        CHECK(0);
    }
    CHECK(calls == 1);
    CHECK(umem_alloc(huge, UMEM_DEFAULT) == NULL && calls == 1);
    umem_nofail_callback(end_thread);
    CHECK(pthread_create(&thread, NULL, need_much, NULL) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == (void *)7 && calls == 2);
    CHECK(status_with(NULL) == 255 && status_with(nonsense) == 255);
    CHECK(status_with(end_process) == ((300 + 23) & 0xff));
    umem_nofail_callback(NULL);
}

/* ---- object caches ---- */

struct object {
    unsigned long magic;
    void *nested;
    int used;
    char room[100];
};

struct account {
    int constructed, destructed, fail_next, reclaimed, allowed;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
enum { MAGIC = 0x5ca1ab1e };

/* Allocates in turn, which shows that no lock is held. */
static int construct(void *buffer, void *data, int flags)
{
    struct object *object = buffer;
    struct account *account = data;
    int refuse;
    pthread_mutex_lock(&mutex);
    refuse = account->fail_next > 0 && account->fail_next--;
    account->constructed += !refuse;
    pthread_mutex_unlock(&mutex);
    if (refuse)
        return -1;
    CHECK(flags == UMEM_DEFAULT);
    object->nested = umem_alloc(24, flags);
    object->magic = MAGIC;
    object->used = 0;
    return 0;
}

static void destruct(void *buffer, void *data)
{
    struct object *object = buffer;
    struct account *account = data;
    CHECK(object->magic == MAGIC);
    umem_free(object->nested, 24);
    object->magic = 0;
    pthread_mutex_lock(&mutex);
    account->destructed++;
    pthread_mutex_unlock(&mutex);
}

static void reclaim(void *data)
{
    ((struct account *)data)->reclaimed++;
}

static int retry(void)
{
    calls++;
    return UMEM_CALLBACK_RETRY;
}

static void check_arguments(void)
{
#define REFUSED(error, ...) (errno = 0, umem_cache_create(__VA_ARGS__) == NULL && errno == (error))
    CHECK(REFUSED(EINVAL, NULL, 8, 0, NULL, NULL, NULL, NULL, NULL, 0));
    CHECK(REFUSED(EINVAL, "a", 0, 0, NULL, NULL, NULL, NULL, NULL, 0));
    CHECK(REFUSED(EINVAL, "a", 8, 24, NULL, NULL, NULL, NULL, NULL, 0));
    CHECK(REFUSED(EINVAL, "a", 8, 8192, NULL, NULL, NULL, NULL, NULL, 0));
    CHECK(REFUSED(EINVAL, "a", 8, 0, NULL, NULL, NULL, NULL, NULL, UMC_NOHASH | UMC_NOTOUCH));
    CHECK(REFUSED(ENOMEM, "a", huge, 0, NULL, NULL, NULL, NULL, NULL, 0));
}

enum { OBJECTS = 1000 };

static void check_constructed(int cflags)
{
    static struct object *objects[OBJECTS];
    struct account account = {0};
    int each_time = guarded && !(cflags & UMC_NODEBUG), rounds;
    umem_cache_t *cache = umem_cache_create("constructed", sizeof **objects, 0, construct, destruct, reclaim, &account, NULL, cflags);
    CHECK(cache != NULL);
    for (rounds = 0; rounds < 3; rounds++) {
        for (int i = 0; i < OBJECTS; i++) {
            objects[i] = umem_cache_alloc(cache, UMEM_DEFAULT);
            CHECK(objects[i] != NULL && is_aligned(objects[i], 16) && objects[i]->magic == MAGIC);
            /* An object of the first round comes back as it was left. */
            CHECK(each_time ? objects[i]->used == 0 : objects[i]->used == (rounds > 0));
            objects[i]->used = 1;
            memset(objects[i]->room, i, sizeof objects[i]->room);
        }
        for (int i = 0; i < OBJECTS; i++) {
            CHECK(is_filled((unsigned char *)objects[i]->room, sizeof objects[i]->room, i));
            umem_cache_free(cache, objects[i]);
        }
        /* Without guards the slab layer may have destroyed empty slabs meanwhile, so the next round starts from scratch. */
        if (!each_time && account.destructed > 0)
            break;
    }
    CHECK(each_time ? account.constructed == 3 * OBJECTS : account.constructed >= OBJECTS);
    umem_cache_destroy(cache);
    CHECK(account.constructed == account.destructed);
}

static void check_failing_constructor(void)
{
    struct account account = {0};
    umem_cache_t *cache = umem_cache_create("failing", sizeof(struct object), 64, construct, destruct, NULL, &account, NULL, 0);
    void *object;
    account.fail_next = 1;
    CHECK(umem_cache_alloc(cache, UMEM_DEFAULT) == NULL);
    calls = 0;
    account.fail_next = 3;
    umem_nofail_callback(retry);
    object = umem_cache_alloc(cache, UMEM_NOFAIL);
    CHECK(object != NULL && is_aligned(object, 64) && calls == 3 && ((struct object *)object)->magic == MAGIC);
    umem_nofail_callback(NULL);
    umem_cache_free(cache, object);
    umem_cache_destroy(cache);
    CHECK(account.constructed == account.destructed);
}

static void check_plain_caches(void)
{
    static const size_t object_sizes[] = {1, 8, 9, 24, 1000, 5000, 30000, 70000, 300000, 3 << 20};
    for (int i = 0; i < (int)(sizeof object_sizes / sizeof object_sizes[0]); i++)
        for (size_t align = 0; align <= 4096; align = align ? align * 8 : 8) {
            size_t size = object_sizes[i];
            unsigned char *objects[24];
            umem_cache_t *cache = umem_cache_create("plain", size, align, NULL, NULL, NULL, NULL, NULL, i % 2 ? UMC_NOMAGAZINE : 0);
            CHECK(cache != NULL);
            for (int j = 0; j < 24; j++) {
                objects[j] = umem_cache_alloc(cache, UMEM_NOFAIL);
                CHECK(objects[j] != NULL && is_aligned(objects[j], align ? align : size > 8 ? 16 : 8));
                memset(objects[j], j, size);
            }
            for (int j = 0; j < 24; j++) {
                CHECK(is_filled(objects[j], size, j));
                umem_cache_free(cache, objects[j]);
            }
            umem_cache_destroy(cache);
        }
}

struct work {
    umem_cache_t *cache;
    unsigned seed;
};

static void *churn(void *argument)
{
    struct work *work = argument;
    struct object *mine[200] = {0};
    for (int i = 0; i < 20000; i++) {
        struct object **place = &mine[rand_r(&work->seed) % 200];
        if (*place != NULL) {
            CHECK((*place)->magic == MAGIC && (*place)->used == 1);
            (*place)->used = 0;
            umem_cache_free(work->cache, *place);
            *place = NULL;
        } else {
            *place = umem_cache_alloc(work->cache, UMEM_DEFAULT);
            CHECK(*place != NULL && (*place)->magic == MAGIC && (*place)->used == 0);
            (*place)->used = 1;
        }
    }
    for (int i = 0; i < 200; i++)
        if (mine[i] != NULL) {
            mine[i]->used = 0;
            umem_cache_free(work->cache, mine[i]);
        }
    return NULL;
}

enum { THREADS = 8, CACHES = 40 };

/* More caches than have magazines in the threads, one after the other and at once; ends while threads still live. */
static void check_threads(void)
{
    for (int round = 0; round < CACHES; round += 5) {
        struct account account = {0};
        struct work work[THREADS];
        pthread_t threads[THREADS];
        umem_cache_t *cache = umem_cache_create("shared", sizeof(struct object), 0, construct, destruct, NULL, &account, NULL, 0);
        for (int i = 0; i < THREADS; i++) {
            work[i] = (struct work){cache, round * THREADS + i + 1};
            CHECK(pthread_create(&threads[i], NULL, churn, &work[i]) == 0);
        }
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        churn(&work[0]);
        umem_cache_destroy(cache);
        CHECK(account.constructed == account.destructed && account.constructed > 0);
    }
}

static void check_many_caches(void)
{
    static umem_cache_t *caches[CACHES];
    static void *objects[CACHES];
    for (int i = 0; i < CACHES; i++)
        CHECK((caches[i] = umem_cache_create("many", 40 + i * 8, 0, NULL, NULL, NULL, NULL, NULL, 0)) != NULL);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < CACHES; i++)
            CHECK((objects[i] = umem_cache_alloc(caches[i], UMEM_DEFAULT)) != NULL);
        for (int i = 0; i < CACHES; i++)
            umem_cache_free(caches[i], objects[i]);
    }
    /* From the middle of the list, from its end, from its start. */
    for (int i = 0; i < CACHES; i++)
        umem_cache_destroy(caches[(i * 7 + 20) % CACHES]);
}

static void check_reap(void)
{
    struct account account = {0};
    umem_cache_t *cache = umem_cache_create("reclaimed", 100, 0, NULL, NULL, reclaim, &account, NULL, 0);
    umem_reap();
    CHECK(account.reclaimed == 1);
    umem_reap();
    CHECK(account.reclaimed == 1);
    umem_cache_destroy(cache);
}

static void check_injection(void)
{
    umem_cache_t *cache = umem_cache_create("injected", 100, 0, NULL, NULL, NULL, NULL, NULL, 0);
    void *buffer, *object;
    umem_setmtbf(1);
    CHECK((buffer = umem_alloc(50, UMEM_NOFAIL)) != NULL);
    umem_free(buffer, 50);
    buffer = umem_alloc(50, UMEM_DEFAULT);
    object = umem_cache_alloc(cache, UMEM_DEFAULT);
    umem_setmtbf(0);
    CHECK((buffer == NULL) == guarded && (object == NULL) == guarded);
    umem_free(buffer, buffer ? 50 : 0);
    if (object != NULL)
        umem_cache_free(cache, object);
    umem_cache_destroy(cache);
}

/* ---- arenas ---- */

/* Numbers where nothing is mapped: touching them would be noticed. */
static void *const base = (void *)0x1000;

struct seen {
    size_t count, bytes;
};

static void see(void *data, void *start, size_t size)
{
    struct seen *seen = data;
    CHECK(start >= base);
    seen->count++;
    seen->bytes += size;
}

static struct seen walk(vmem_t *arena, int types)
{
    struct seen seen = {0};
    vmem_walk(arena, types, see, &seen);
    return seen;
}

static void check_fits(void)
{
    vmem_t *arena = vmem_create("fits", base, 0x1000, 0x10, NULL, NULL, NULL, 0, VM_NOSLEEP);
    char *a, *b, *c, *d;
    CHECK(arena != NULL && vmem_size(arena, VMEM_ALLOC | VMEM_FREE) == 0x1000);
    a = vmem_xalloc(arena, 0x100, 0, 0, 0, base, (char *)base + 0x100, VM_NOSLEEP);
    b = vmem_xalloc(arena, 0x10, 0, 0, 0, a + 0x140, NULL, VM_NOSLEEP);
    CHECK(a == base && b == a + 0x140);
    /* Free: 0x40 behind a, and all behind b. */
    c = vmem_alloc(arena, 0x35, VM_NOSLEEP | VM_BESTFIT);
    CHECK(c == a + 0x100);
    CHECK(walk(arena, VMEM_ALLOC).bytes == 0x100 + 0x10 + 0x35 && vmem_size(arena, VMEM_ALLOC) == 0x150);
    vmem_free(arena, c, 0x35);
    d = vmem_alloc(arena, 0x20, VM_NOSLEEP | VM_FIRSTFIT);
    CHECK(d == a + 0x100);
    c = vmem_alloc(arena, 0x20, VM_NOSLEEP | VM_NEXTFIT);
    CHECK(c != NULL);
    vmem_free(arena, c, 0x20);
    CHECK(vmem_alloc(arena, 0x20, VM_NOSLEEP | VM_NEXTFIT) != NULL);
    CHECK(vmem_alloc(arena, 0x1000, VM_NOSLEEP) == NULL);
    CHECK(vmem_contains(arena, base, 0x1000) && !vmem_contains(arena, base, 0x1001) && !vmem_contains(arena, (char *)base - 1, 1));
    vmem_destroy(arena);
}

/* Numbers, not memory: who has each is kept here. */
enum { IDS = 40000, ID_QUANTUM = 4 };
static int taken[IDS * 2];
static vmem_t *ids;

static void *use_ids(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    struct { uintptr_t start; size_t size; } held[50] = {{0, 0}};
    for (int i = 0; i < 20000; i++) {
        state = state * 1103515245u + 12345u;
        unsigned at = (state >> 16) % 50;
        if (held[at].size) {
            for (size_t j = 0; j < held[at].size; j++)
                CHECK(__atomic_exchange_n(&taken[held[at].start + j], 0, __ATOMIC_RELAXED) == 1);
            vmem_free(ids, (void *)held[at].start, held[at].size);
        }
        held[at].size = 1 + (state >> 8) % 30;
        held[at].start = (uintptr_t)vmem_alloc(ids, held[at].size, VM_NOSLEEP | (state & 0x80 ? VM_BESTFIT : 0));
        CHECK(held[at].start != 0 && held[at].start % ID_QUANTUM == 0);
        for (size_t j = 0; j < held[at].size; j++)
            CHECK(__atomic_exchange_n(&taken[held[at].start + j], 1, __ATOMIC_RELAXED) == 0);
    }
    for (int at = 0; at < 50; at++)
        if (held[at].size) {
            for (size_t j = 0; j < held[at].size; j++)
                __atomic_store_n(&taken[held[at].start + j], 0, __ATOMIC_RELAXED);
            vmem_free(ids, (void *)held[at].start, held[at].size);
        }
    return NULL;
}

/* Ranges of up to four quanta come from magazines; no number is given out twice, and all are back at the end. */
static void check_quantum_caches(void)
{
    for (int round = 0; round < 3; round++) {
        pthread_t threads[4];
        ids = vmem_create("ids", (void *)(uintptr_t)ID_QUANTUM, IDS, ID_QUANTUM, NULL, NULL, NULL, 4 * ID_QUANTUM, VM_NOSLEEP);
        CHECK(ids != NULL);
        for (uintptr_t i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, use_ids, (void *)(i * 31 + 1));
        use_ids((void *)777);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        /* A constrained range is the arena's own matter. */
        void *range = vmem_xalloc(ids, 8, 8, 0, 0, NULL, NULL, VM_NOSLEEP);
        CHECK(range != NULL);
        vmem_xfree(ids, range, 8);
        vmem_destroy(ids);
    }
}

static void check_constraints(void)
{
    vmem_t *arena = vmem_create("constraints", base, 1 << 20, 8, NULL, NULL, NULL, 0, VM_NOSLEEP);
    unsigned seed = 1;
    for (int i = 0; i < 2000; i++) {
        size_t align = (size_t)8 << rand_r(&seed) % 6, phase = rand_r(&seed) % align / 8 * 8;
        size_t size = rand_r(&seed) % 100 + 1, nocross = rand_r(&seed) % 2 ? 512 : 0;
        char *low = (char *)base + rand_r(&seed) % (1 << 19), *high = low + (1 << 19);
        char *start = vmem_xalloc(arena, size, align, phase, nocross, low, high, VM_NOSLEEP);
        CHECK(start != NULL && (uintptr_t)start % align == phase && start >= low && start + size <= high);
        CHECK(!nocross || (uintptr_t)start / nocross == ((uintptr_t)start + size - 1) / nocross);
        if (i % 3)
            vmem_xfree(arena, start, size);
    }
    CHECK(walk(arena, VMEM_SPAN).count == 1 && walk(arena, VMEM_SPAN).bytes == 1 << 20);
    CHECK(vmem_size(arena, VMEM_FREE) == (1 << 20) - vmem_size(arena, VMEM_ALLOC));
    vmem_destroy(arena);
}

static char *next_span;
static int imports, releases;

static void *import(vmem_t *source, size_t size, int flags)
{
    CHECK(source == (vmem_t *)&next_span && (flags & VM_NOSLEEP));
    /* No lock is held. */
    umem_free(umem_alloc(100, UMEM_NOFAIL), 100);
    if (imports == 3)
        return NULL;
    imports++;
    next_span += size + 0x1000;
    return next_span - size;
}

static void release(vmem_t *source, void *start, size_t size)
{
    CHECK(source == (vmem_t *)&next_span && start >= base && size > 0);
    releases++;
}

static void check_import(void)
{
    vmem_t *arena = vmem_create("import", NULL, 0, 1, import, release, (vmem_t *)&next_span, 0, VM_NOSLEEP);
    void *pieces[3];
    next_span = base;
    for (int i = 0; i < 3; i++)
        CHECK((pieces[i] = vmem_alloc(arena, 100 + i, VM_NOSLEEP)) != NULL && imports == i + 1);
    CHECK(vmem_alloc(arena, 100, VM_NOSLEEP) == NULL);
    CHECK(vmem_xalloc(arena, 1, 0, 0, 0, (void *)1, NULL, VM_NOSLEEP) == NULL);
    for (int i = 0; i < 3; i++) {
        vmem_free(arena, pieces[i], 100 + i);
        CHECK(releases == i + 1);
    }
    CHECK(vmem_add(arena, base, 10, VM_NOSLEEP) == base && vmem_alloc(arena, 10, VM_NOSLEEP) == base);
    vmem_free(arena, base, 10);
    CHECK(releases == 3 && vmem_size(arena, VMEM_FREE | VMEM_ALLOC) == 10);
    vmem_destroy(arena);
}

static void check_heap(void)
{
    vmem_alloc_t *alloc;
    vmem_free_t *give;
    vmem_t *heap = vmem_heap_arena(&alloc, &give), *arena;
    umem_cache_t *cache;
    void *objects[50];
    unsigned char *memory;
    CHECK(heap != NULL && alloc == vmem_alloc && give == vmem_free && vmem_heap_arena(NULL, NULL) == heap);
    memory = alloc(heap, 10000, VM_NOSLEEP);
    CHECK(memory != NULL && is_aligned(memory, 4096));
    memset(memory, 1, 10000);
    give(heap, memory, 10000);
    /* An arena over the heap, and a cache over the arena. */
    arena = vmem_create("over heap", NULL, 0, 4096, alloc, give, heap, 0, VM_NOSLEEP);
    memory = vmem_xalloc(arena, 5000, 1 << 16, 1 << 12, 0, NULL, NULL, VM_NOSLEEP);
    CHECK(memory != NULL && (uintptr_t)memory % (1 << 16) == 1 << 12);
    memset(memory, 2, 5000);
    cache = umem_cache_create("over arena", 3000, 0, NULL, NULL, NULL, NULL, arena, 0);
    CHECK(cache != NULL);
    for (int i = 0; i < 50; i++) {
        CHECK((objects[i] = umem_cache_alloc(cache, UMEM_DEFAULT)) != NULL);
        memset(objects[i], 3, 3000);
    }
    CHECK(vmem_contains(arena, objects[0], 3000) && is_filled(memory, 5000, 2));
    for (int i = 0; i < 50; i++)
        umem_cache_free(cache, objects[i]);
    umem_cache_destroy(cache);
    vmem_xfree(arena, memory, 5000);
    CHECK(vmem_size(arena, VMEM_ALLOC | VMEM_FREE) == 0);
    vmem_destroy(arena);
    /* Memory that is not the heap's has no place for the structures of slabs. */
    arena = vmem_create("elsewhere", base, 1 << 20, 4096, NULL, NULL, NULL, 0, VM_NOSLEEP);
    cache = umem_cache_create("impossible", 100, 0, NULL, NULL, NULL, NULL, arena, 0);
    CHECK(umem_cache_alloc(cache, UMEM_DEFAULT) == NULL && vmem_size(arena, VMEM_ALLOC) == 0);
    umem_cache_destroy(cache);
    vmem_destroy(arena);
}

/* ---- fork ---- */

static volatile int stop;

static void *make_caches(void *nothing)
{
    (void)nothing;
    while (!stop) {
        umem_cache_t *cache = umem_cache_create("short", 64, 0, NULL, NULL, NULL, NULL, NULL, 0);
        vmem_t *arena = vmem_create("short", base, 100, 1, NULL, NULL, NULL, 0, VM_NOSLEEP);
        umem_cache_free(cache, umem_cache_alloc(cache, UMEM_NOFAIL));
        vmem_free(arena, vmem_alloc(arena, 10, VM_PANIC), 10);
        vmem_destroy(arena);
        umem_cache_destroy(cache);
    }
    return NULL;
}

static void check_fork(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, make_caches, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            check_import();
            check_failing_constructor();
            _exit(0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    stop = 1;
    CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- misuse ---- */

static void misuse(const char *which)
{
    struct rlimit no_core = {0, 0};
    umem_cache_t *one = umem_cache_create("cache_one", 100, 0, NULL, NULL, NULL, NULL, NULL, 0);
    umem_cache_t *two = umem_cache_create("cache_two", 100, 0, NULL, NULL, NULL, NULL, NULL, 0);
    vmem_t *arena = vmem_create("victim", base, 1000, 1, NULL, NULL, NULL, 0, VM_NOSLEEP);
    char *object = umem_cache_alloc(one, UMEM_NOFAIL), *range = vmem_alloc(arena, 10, VM_PANIC);
    setrlimit(RLIMIT_CORE, &no_core);
    if (!strcmp(which, "size"))
        umem_free(umem_alloc(100, UMEM_NOFAIL), 200);
    if (!strcmp(which, "size_near"))
        umem_free(umem_alloc(100, UMEM_NOFAIL), 101);
    if (!strcmp(which, "size_large"))
        umem_free(umem_alloc(700000, UMEM_NOFAIL), 700001);
    if (!strcmp(which, "wrong_cache"))
        umem_cache_free(two, object);
    if (!strcmp(which, "twice")) {
        umem_cache_t *slow = umem_cache_create("slow", 100, 0, NULL, NULL, NULL, NULL, NULL, UMC_NOMAGAZINE);
        object = umem_cache_alloc(slow, UMEM_NOFAIL);
        umem_cache_free(slow, object);
        umem_cache_free(slow, object);
    }
    if (!strcmp(which, "inside"))
        umem_cache_free(one, object + 16), umem_cache_destroy(one);
    if (!strcmp(which, "by_free"))
        free(object);
    if (!strcmp(which, "by_size"))
        umem_free(object, 100);
    if (!strcmp(which, "no_buffer"))
        umem_cache_free(one, &object);
    if (!strcmp(which, "range_unknown"))
        vmem_free(arena, range + 1, 10);
    if (!strcmp(which, "range_size"))
        vmem_free(arena, range, 11);
    if (!strcmp(which, "range_zero"))
        vmem_alloc(arena, 0, VM_NOSLEEP);
    if (!strcmp(which, "range_much"))
        vmem_alloc(arena, 10000, VM_PANIC);
    if (!strcmp(which, "span_overlaps"))
        vmem_add(arena, (char *)base + 500, 1000, VM_NOSLEEP);
    if (!strcmp(which, "after_end")) {
        umem_cache_free(one, object);
        memset(object, 1, 8);
        umem_cache_destroy(one);
    }
    fprintf(stderr, "%s was not noticed\n", which);
    _exit(0);
}

int main(int count, char **arguments)
{
    const char *debug = getenv("UMEM_DEBUG");
    guarded = debug != NULL && *debug != 0 && strcmp(debug, "contents") != 0;
    if (count > 1)
        misuse(arguments[1]);
    check_reap();
    check_sized();
    check_aligned();
    check_nofail();
    check_arguments();
    check_constructed(0);
    check_constructed(UMC_NODEBUG);
    check_constructed(UMC_NOMAGAZINE);
    check_failing_constructor();
    check_plain_caches();
    check_many_caches();
    check_threads();
    check_injection();
    check_fits();
    check_quantum_caches();
    check_constraints();
    check_heap();
    check_fork();
    check_import();
    printf("ok\n");
    return 0;
}
