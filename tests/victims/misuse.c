// flags: -g -O0 -fno-builtin -rdynamic
/* One misuse of memory for each name; "ok" before the name runs its twin, which is the same without the mistake. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int wrong;            /* 1: with the mistake */
static char *volatile keep;  /* where buffers are put that nobody may optimize away */
static void *(*do_malloc)(size_t) = malloc;
static void (*do_free)(void *) = free;

__attribute__((noinline)) char *make(size_t size) { keep = do_malloc(size); memset(keep, 'a', size); return keep; }
__attribute__((noinline)) void drop(void *p) { do_free(p); }

/* Writes behind the end. */
void past(size_t size, size_t at, char value) { char *p = make(size); if (wrong) p[at] = value; drop(p); }
void past_one(void) { past(24, 24, 'x'); }
void past_zero_at_word(void) { past(24, 24, 0); }
void past_zero_at_odd(void) { past(13, 13, 0); }
void past_far(void) { past(33, 40, 'x'); }
void past_strcpy(void) { char *p = do_malloc(10); strcpy(p, wrong ? "0123456789" : "012345678"); drop(p); }
void past_zero_in_code(void) { char *p = make(8); if (wrong) memset(p + 28, 0, 4); drop(p); }
void past_empty(void) { char *p = do_malloc(0); if (wrong) p[0] = 'x'; drop(p); }
void past_page(void) { past(4096, 4096, 'x'); }
void past_big_class(void) { past(20000, 20001, 'x'); }
void past_large(void) { past(1000001, 1000001, 0); }
void past_aligned(void) { char *p = memalign(256, 100); if (wrong) p[100] = 1; drop(p); }
void past_aligned_large(void) { char *p = memalign(1 << 21, 300000); if (wrong) p[300000] = 1; drop(p); }
void past_empty_aligned(void) { char *p = memalign(256, 0); if (wrong) p[0] = 1; drop(p); }
void past_empty_aligned_large(void) { char *p = memalign(1 << 21, 0); if (wrong) p[0] = 1; drop(p); }
void past_large_then_realloc(void) { char *p = make(300000); if (wrong) p[300000] = 1; p = realloc(p, 400000); drop(p); }
void past_aligned_then_realloc(void) { char *p = memalign(256, 100); if (wrong) p[100] = 1; p = realloc(p, 50); drop(p); }
void past_then_realloc(void) { char *p = make(24); if (wrong) p[24] = 'x'; p = realloc(p, 50); drop(p); }
void past_calloc(void) { char *p = calloc(3, 7); if (wrong) p[21] = 1; drop(p); }
void past_strdup(void) { char *p = strdup("hello"); if (wrong) p[6] = 1; drop(p); }
void past_in_thread_body(void) { past(50, 50, 'x'); }
void *thread_past(void *unused) { pthread_setname_np(pthread_self(), "overrunner"); past_in_thread_body(); return unused; }
void past_in_thread(void) { pthread_t t; pthread_create(&t, NULL, thread_past, NULL); pthread_join(t, NULL); }

/* Writes before the start: the buffer in front of it is what is hit. */
void before_start(char value) {
    char *p[64];
    for (int i = 0; i < 64; i++) p[i] = make(40);
    if (wrong) p[32][-1] = value;
    for (int i = 0; i < 64; i++) drop(p[i]);
}
void before_one(void) { before_start('x'); }
void before_zero(void) { before_start(0); }

/* Uses after free. What was written is found when the buffer is handed out again. */
void after_free(size_t size, size_t at) {
    char *p = make(size);
    drop(p);
    if (wrong) p[at] = 'x';
    for (int i = 0; i < 40000; i++) drop(make(size));
}
void after_first(void) { after_free(32, 0); }
void after_last(void) { after_free(32, 31); }
void after_padding(void) { after_free(30, 31); }
void after_class(void) { after_free(4096, 4000); }
void after_large(void) { char *p = make(300000); drop(p); if (wrong) p[100] = 1; for (int i = 0; i < 40; i++) drop(do_malloc(300000)); }
void after_large_far(void) { char *p = make(3000000); drop(p); if (wrong) p[2000000] = 1; for (int i = 0; i < 40; i++) drop(do_malloc(3000000)); }
void after_empty(void) { char *p = do_malloc(0); drop(p); if (wrong) p[0] = 1; for (int i = 0; i < 40000; i++) drop(do_malloc(0)); }
void after_aligned(void) { char *p = memalign(256, 100); drop(p); if (wrong) p[99] = 1; for (int i = 0; i < 40000; i++) drop(memalign(256, 100)); }
void after_aligned_large(void) { char *p = memalign(1 << 21, 300000); drop(p); if (wrong) p[100] = 1; for (int i = 0; i < 40; i++) drop(memalign(1 << 21, 300000)); }
void letters(void) { char *p = make(100); memset(p, 'q', 100); drop(p); if (wrong) drop(p); }
void after_realloc(void) { char *p = make(24), *q = realloc(p, 500); if (wrong) p[3] = 'x'; drop(q); for (int i = 0; i < 40000; i++) drop(make(24)); }
void *thread_drop(void *p) { drop(p); return NULL; }
void after_free_elsewhere(void) {
    char *p = make(72); pthread_t t; pthread_create(&t, NULL, thread_drop, p); pthread_join(t, NULL);
    if (wrong) p[5] = 'x';
    for (int i = 0; i < 40000; i++) drop(make(72));
}

/* Frees of what is not to be freed. */
void twice(void) { char *p = make(24); drop(p); if (wrong) drop(p); }
void twice_later(void) { char *p = make(24); drop(p); for (int i = 0; i < 10; i++) drop(make(24)); if (wrong) drop(p); }
void twice_large(void) { char *p = make(500000); drop(p); if (wrong) drop(p); }
void twice_aligned(void) { char *p = memalign(1 << 21, 300000); drop(p); if (wrong) drop(p); }
void twice_realloc(void) { char *p = make(24); drop(p); if (wrong) keep = realloc(p, 100); }
void twice_by_realloc_zero(void) { char *p = make(24); keep = realloc(p, 0); if (wrong) drop(p); }
void twice_empty(void) { char *p = do_malloc(0); drop(p); if (wrong) drop(p); }
void twice_big_class(void) { char *p = make(20000); drop(p); if (wrong) drop(p); }
void twice_realloc_large(void) { char *p = make(500000); drop(p); if (wrong) keep = realloc(p, 100); }
void twice_two_threads(void) { char *p = make(24); pthread_t t; pthread_create(&t, NULL, thread_drop, p); pthread_join(t, NULL); if (wrong) drop(p); }
void inside(void) { char *p = make(24); if (wrong) drop(p + 8); drop(p); }
void inside_odd(void) { char *p = make(100); if (wrong) drop(p + 1); drop(p); }
void inside_large(void) { char *p = make(500000); if (wrong) drop(p + 4096); drop(p); }
void inside_big_class(void) { char *p = make(20000); if (wrong) drop(p + 10000); drop(p); }
void inside_aligned(void) { char *p = memalign(256, 100); if (wrong) drop(p + 64); drop(p); }
void inside_aligned_large(void) { char *p = memalign(1 << 21, 300000); if (wrong) drop(p + 16); drop(p); }
void inside_realloc_large(void) { char *p = make(500000); if (wrong) keep = realloc(p + 4096, 50); drop(p); }
void inside_realloc(void) { char *p = make(24); if (wrong) keep = realloc(p + 8, 50); drop(p); }
void of_stack(void) { char local[32]; local[0] = 0; if (wrong) drop(local); }
void of_static(void) { static char data[32]; keep = data; if (wrong) drop(data); }
void of_literal(void) { if (wrong) drop("literal"); }
void of_function(void) { if (wrong) drop((void *)of_literal); }
void of_mmap(void) { char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (wrong) drop(p); munmap(p, 4096); }
void of_brk(void) { char *p = sbrk(4096); if (wrong) drop(p); }
void wild(void) { if (wrong) drop((void *)0x10); }
void wild_kernel(void) { if (wrong) drop((void *)0xffff800000000010); }
void never_allocated(void) { char *p = make(2000); if (wrong) drop(p + 3 * 4096); drop(p); }

/* Families of functions: C++ operators and umem_alloc are looked up, so that the program needs neither library. */
typedef void *take(size_t);
typedef void give(void *);
typedef void give_sized(void *, size_t);
void *find(const char *name) { void *f = dlsym(RTLD_DEFAULT, name); if (!f) exit(3); return f; }
void mixed(const char *from, const char *right, const char *mistaken) {
    char *p = ((take *)find(from))(24);
    ((give *)find(wrong ? mistaken : right))(p);
}
void free_of_new(void) { mixed("_Znwm", "_ZdlPv", "free"); }
void free_of_new_array(void) { mixed("_Znam", "_ZdaPv", "free"); }
void delete_of_malloc(void) { mixed("malloc", "free", "_ZdlPv"); }
void delete_of_new_array(void) { mixed("_Znam", "_ZdaPv", "_ZdlPv"); }
void delete_array_of_new(void) { mixed("_Znwm", "_ZdlPv", "_ZdaPv"); }
void delete_of_large_malloc(void) { char *p = make(300000); ((give *)find(wrong ? "_ZdlPv" : "free"))(p); }
void realloc_of_new(void) { char *p = ((take *)find("_Znwm"))(24); if (wrong) keep = realloc(p, 50); ((give *)find("_ZdlPv"))(p); }
void delete_of_empty(void) { char *p = do_malloc(0); ((give *)find(wrong ? "_ZdlPv" : "free"))(p); }
void delete_of_aligned(void) { char *p = memalign(256, 100); ((give *)find(wrong ? "_ZdlPv" : "free"))(p); }
void delete_of_aligned_large(void) { char *p = memalign(1 << 21, 300000); ((give *)find(wrong ? "_ZdlPv" : "free"))(p); }
void free_of_large_new(void) { char *p = ((take *)find("_Znwm"))(300000); ((give *)find(wrong ? "free" : "_ZdlPv"))(p); }
void sized_delete(const char *from, const char *by, size_t size, size_t said) {
    char *p = ((take *)find(from))(size);
    ((void (*)(void *, size_t))find(by))(p, wrong ? said : size);
}
void wrong_size_of_delete(void) { sized_delete("_Znwm", "_ZdlPvm", 24, 32); }
void wrong_size_of_delete_array(void) { sized_delete("_Znam", "_ZdaPvm", 24, 0); }
void wrong_size_of_delete_large(void) { sized_delete("_Znwm", "_ZdlPvm", 300000, 8); }
void *umem(size_t size) { return ((void *(*)(size_t, int))find("umem_alloc"))(size, 0); }
void umem_back(void *p, size_t size) { ((give_sized *)find("umem_free"))(p, size); }
void free_of_umem(void) { char *p = umem(24); if (wrong) drop(p); else umem_back(p, 24); }
void umem_free_of_malloc(void) { char *p = make(24); if (wrong) umem_back(p, 24); else drop(p); }
void wrong_size(void) { umem_back(umem(24), wrong ? 25 : 24); }
void wrong_size_large(void) { umem_back(umem(500000), wrong ? 400000 : 500000); }
void free_of_large_umem(void) { char *p = umem(500000); if (wrong) drop(p); else umem_back(p, 500000); }
void umem_free_of_large_malloc(void) { char *p = make(500000); if (wrong) umem_back(p, 500000); else drop(p); }
void wrong_size_zero(void) { umem_back(umem(24), wrong ? 0 : 24); }
void umem_aligned(size_t size, size_t align, size_t said) {
    void *p = ((void *(*)(size_t, size_t, int))find("umem_alloc_align"))(size, align, 0);
    ((give_sized *)find("umem_free_align"))(p, wrong ? said : size);
}
void wrong_size_aligned(void) { umem_aligned(100, 256, 101); }
void wrong_size_aligned_large(void) { umem_aligned(300000, 1 << 21, 100); }
typedef void *create(char *, size_t, size_t, void *, void *, void *, void *, void *, int);
void *cache(char *name) { return ((create *)find("umem_cache_create"))(name, 40, 0, 0, 0, 0, 0, 0, 0); }
void *cache_make(void *c) { return ((void *(*)(void *, int))find("umem_cache_alloc"))(c, 0); }
void cache_drop(void *c, void *p) { ((void (*)(void *, void *))find("umem_cache_free"))(c, p); }
void wrong_cache(void) { void *one = cache("one"), *two = cache("two"), *p = cache_make(one); cache_drop(wrong ? two : one, p); }
void cache_twice(void) { void *c = cache("one"), *p = cache_make(c); cache_drop(c, p); if (wrong) cache_drop(c, p); }
void cache_past(void) { void *c = cache("one"); char *p = cache_make(c); if (wrong) p[40] = 1; cache_drop(c, p); }
void free_of_object(void) { void *c = cache("one"), *p = cache_make(c); if (wrong) drop(p); else cache_drop(c, p); }
void cache_free_of_malloc(void) { void *c = cache("one"); char *p = make(40); if (wrong) cache_drop(c, p); else drop(p); }
void cache_free_of_large(void) { void *c = cache("one"); char *p = make(300000); if (wrong) cache_drop(c, p); else drop(p); }
void cache_free_of_freed_large(void) { void *c = cache("one"); char *p = make(300000); drop(p); if (wrong) cache_drop(c, p); }
void cache_free_inside_large(void) { void *c = cache("one"); char *p = make(300000); if (wrong) cache_drop(c, p + 64); drop(p); }

/* Found by a call of umem_verify. */
void look(void) { ((size_t (*)(void))find("umem_verify"))(); }
void verify_past(void) { char *p = make(24); if (wrong) p[24] = 'x'; look(); }
void verify_after(void) { char *p = make(24); drop(p); if (wrong) p[23] = 'x'; look(); }
void verify_object(void) { void *c = cache("one"); char *p = cache_make(c); if (wrong) p[40] = 1; look(); }
void verify_large(void) { char *p = make(300000); if (wrong) p[300000] = 1; look(); }
void verify_aligned(void) { char *p = memalign(256, 100); if (wrong) p[100] = 1; look(); }
void verify_aligned_large(void) { char *p = memalign(1 << 21, 300000); if (wrong) p[300000] = 1; look(); }
void verify_after_aligned_large(void) { char *p = memalign(1 << 21, 300000); drop(p); if (wrong) p[299999] = 1; look(); }
void verify_after_large(void) { char *p = make(300000); drop(p); if (wrong) p[299999] = 1; look(); }
void verify_after_huge(void) { char *p = make(40000000); drop(p); if (wrong) p[39999999] = 1; look(); }

/* For other settings than the catalogue's. */
void past_far_off(void) { past(100, 130, 'x'); }
void ready(void) { puts("ready"); fflush(stdout); getchar(); }
void many_then_wait(void) { for (int i = 0; i < 40000; i++) make(16); ready(); }
void too_large(void) { keep = do_malloc((size_t)1 << 60); }
void too_large_then_wait(void) { too_large(); ready(); }
void handler(int signal) { (void)signal; drop(make(24)); }
/* A mistake below `depth` calls. */
__attribute__((noinline)) void below(int depth) { if (depth) below(depth - 1); else twice(); keep = NULL; }
void deep(void) { below(100); }
/* How many times a buffer of a size is allocated and freed until the first one comes back; at most 5000. */
void turns(size_t size) {
    uintptr_t first = (uintptr_t)make(size);
    int turns = 1;
    for (drop(keep); turns < 5000 && (uintptr_t)make(size) != first; turns++) drop(keep);
    printf("%d\n", turns);
}
void turns_small(void) { turns(1000); }
void turns_large(void) { turns(200000); }
void in_handler(void) { signal(SIGUSR1, handler); raise(SIGUSR1); }

/* Bytes one by one: each is changed in a child of its own, which is to end by SIGABRT. Prints how many were tried, and those that were missed. */
static char *at_hand;
static size_t tried, missed;
int aborts(void (*act)(void)) {
    pid_t child = fork();
    if (!child) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        dup2(open("/dev/null", O_WRONLY), 2);
        act();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
void change_each(const char *what, size_t size, size_t from, size_t to, size_t step, void (*act)(void)) {
    for (size_t at = from; at < to; at += step) {
        at_hand[at] ^= 1;
        tried++;
        if (!aborts(act)) { missed++; printf("missed: byte %zu of %zu, %s\n", at, size, what); }
        at_hand[at] ^= 1;
    }
}
void act_free(void) { drop(at_hand); }
void act_realloc(void) { keep = realloc(at_hand, 5); }
void act_look(void) { look(); }
static size_t act_size;
void act_reuse(void) { for (int i = 0; i < 12000; i++) drop(make(act_size)); }
void *act_cache;
void act_cache_free(void) { cache_drop(act_cache, at_hand); }
/* Bytes from one buffer of a size to the next, trailer included. */
size_t room_of(size_t size) {
    enum { COUNT = 64 };
    char *p[COUNT];
    size_t least = -1;
    if (size > 131072) return (size + 7) / 8 * 8 + 24;
    for (int i = 0; i < COUNT; i++) p[i] = do_malloc(size);
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++)
            if (p[i] > p[j] && (size_t)(p[i] - p[j]) < least) least = p[i] - p[j];
    for (int i = 0; i < COUNT; i++) drop(p[i]);
    return least;
}
void every_byte_behind(void) {
    static const size_t sizes[] = { 0, 1, 7, 8, 13, 16, 24, 33, 100, 1000, 4090, 20470, 131072, 131073, 300001 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i], end = room_of(size);
        at_hand = do_malloc(size);
        /* A class of whole pages is followed by a page of redzone: of its middle some bytes are enough. */
        size_t middle = end - size > 200 ? end - 64 : size;
        change_each("umem_verify", size, size, middle, 97, act_look);
        change_each("free", size, middle, end, 1, act_free);
        change_each("realloc", size, middle, end, 1, act_realloc);
        change_each("umem_verify", size, middle, end, 1, act_look);
    }
    at_hand = memalign(64, 100);
    change_each("aligned", 100, 100, 128, 1, act_free);
    at_hand = memalign(1 << 21, 300000);
    change_each("aligned", 300000, 300000, 300024, 1, act_free);
    act_cache = cache("one");
    at_hand = cache_make(act_cache);
    change_each("umem_cache_free", 40, 40, 64, 1, act_cache_free);
    printf("tried %zu missed %zu\n", tried, missed);
}
void every_byte_freed(void) {
    static const size_t sizes[] = { 0, 1, 8, 24, 100 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t end = room_of(act_size = sizes[i]);
        at_hand = make(act_size);
        drop(at_hand);
        change_each("umem_verify", act_size, 0, end, 1, act_look);
        change_each("malloc", act_size, 0, end, 5, act_reuse);
    }
    static const size_t large[] = { 4096, 20480, 131072, 131073, 300001, 20 << 20 };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        drop(at_hand = make(large[i]));
        change_each("umem_verify", large[i], 0, large[i], large[i] / 37, act_look);
        change_each("umem_verify", large[i], large[i] - 5, large[i], 1, act_look);
    }
    printf("tried %zu missed %zu\n", tried, missed);
}

static const struct { const char *name; void (*run)(void); } kinds[] = {
#define K(name) { #name, name }
    K(past_one), K(past_zero_at_word), K(past_zero_at_odd), K(past_far), K(past_strcpy), K(past_zero_in_code), K(past_empty),
    K(past_page), K(past_big_class), K(past_large), K(past_aligned), K(past_aligned_large), K(past_then_realloc), K(past_calloc),
    K(past_strdup), K(past_in_thread), K(before_one), K(before_zero), K(after_first), K(after_last), K(after_padding), K(after_class),
    K(after_large), K(after_large_far), K(after_realloc), K(after_free_elsewhere), K(twice), K(twice_later), K(twice_large),
    K(twice_aligned), K(twice_realloc), K(twice_by_realloc_zero), K(twice_two_threads), K(inside), K(inside_odd), K(inside_large),
    K(inside_realloc), K(of_stack), K(of_static), K(of_literal), K(of_function), K(of_mmap), K(of_brk), K(wild), K(wild_kernel),
    K(never_allocated), K(free_of_new), K(free_of_new_array), K(delete_of_malloc), K(delete_of_new_array), K(delete_array_of_new),
    K(delete_of_large_malloc), K(realloc_of_new), K(free_of_umem), K(umem_free_of_malloc), K(wrong_size), K(wrong_size_large),
    K(wrong_cache), K(cache_twice), K(cache_past), K(free_of_object), K(cache_free_of_malloc), K(verify_past), K(verify_after), K(verify_object),
    K(verify_large), K(verify_after_large), K(verify_after_huge),
    K(past_empty_aligned), K(past_empty_aligned_large), K(past_large_then_realloc), K(past_aligned_then_realloc), K(after_empty),
    K(after_aligned), K(after_aligned_large), K(twice_empty), K(twice_big_class), K(twice_realloc_large), K(inside_big_class),
    K(inside_aligned), K(inside_aligned_large), K(inside_realloc_large), K(delete_of_empty), K(delete_of_aligned),
    K(delete_of_aligned_large), K(free_of_large_new), K(wrong_size_of_delete), K(wrong_size_of_delete_array),
    K(wrong_size_of_delete_large), K(free_of_large_umem), K(umem_free_of_large_malloc), K(wrong_size_zero),
    K(wrong_size_aligned), K(wrong_size_aligned_large), K(cache_free_of_large), K(cache_free_of_freed_large),
    K(cache_free_inside_large), K(verify_aligned), K(verify_aligned_large), K(verify_after_aligned_large),
    { 0, 0 }, /* the rest is not listed */
    K(letters), K(past_far_off), K(many_then_wait), K(too_large), K(too_large_then_wait), K(in_handler), K(deep), K(turns_small), K(turns_large),
    K(every_byte_behind), K(every_byte_freed),
};

int main(int argc, char **argv) {
    if (argc < 2) {
        for (size_t i = 0; kinds[i].name; i++) puts(kinds[i].name);
        return 0;
    }
    wrong = strcmp(argv[1], "ok") != 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].name && !strcmp(kinds[i].name, argv[argc - 1])) { kinds[i].run(); return 0; }
    return 2;
}
