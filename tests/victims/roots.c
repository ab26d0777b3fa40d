// flags: -g -O0 -fno-builtin -pthread
/*
 * One scenario an argument: what `keep` allocated is alive through one kind of root alone, and what `lose` allocated is lost.
 * With a second argument nothing is lost: the twin.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static int is_twin;
static char *library;

/* Clears what calls before left on the stack and in registers. */
static NOINLINE void scrub(void)
{
    volatile char stack[16384];
    memset((void *)stack, 0, sizeof stack);
    __asm__ volatile("xor %%ebx, %%ebx; xor %%r12d, %%r12d; xor %%r13d, %%r13d; xor %%r14d, %%r14d; xor %%r15d, %%r15d"
                     ::: "rbx", "r12", "r13", "r14", "r15");
}

static NOINLINE void *keep(void)
{
    void **kept = calloc(1, 48);
    /* What it leads to is alive as well. */
    kept[2] = malloc(24);
    return kept;
}

static NOINLINE void lose(void)
{
    void *volatile lost = malloc(40);
    memset(lost, 0, 40);
    if (is_twin)
        free(lost);
    lost = NULL;
}

static NOINLINE void ready(void)
{
    lose();
    scrub();
    if (write(1, "ready\n", 6) != 6)
        _exit(3);
    for (;;)
        pause();
}

/* ---- data, stacks, registers ---- */

static void *in_bss;
static void *in_data = &in_bss;

static void bss(void) { in_bss = keep(); ready(); }
static void data(void) { in_data = keep(); ready(); }

static void stack(void)
{
    void *volatile local = keep();
    ready();
    (void)local;
}

static void reg(void)
{
    lose();
    void *kept = keep();
    scrub();
    /* The address is in r12 alone: the stack slot is cleared before the program waits. */
    __asm__ volatile("mov %0, %%r12; movq $0, %0\n"
                     "mov $1, %%eax; mov $1, %%edi; mov %1, %%rsi; mov $6, %%edx; syscall\n"
                     "1: mov $34, %%eax; syscall; jmp 1b"
                     : "+m"(kept) : "r"("ready\n")
                     : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "r12", "memory");
}

/* 128 bytes below the stack pointer belong to a function that calls nothing. */
static void redzone(void)
{
    lose();
    void *kept = keep();
    scrub();
    static char word[] = "ready\n";
    __asm__ volatile("mov %0, %%rax; movq $0, %0; mov %%rax, -64(%%rsp)\n"
                     "mov $1, %%eax; mov $1, %%edi; mov %1, %%rsi; mov $6, %%edx; syscall\n"
                     "xor %%eax, %%eax\n"
                     "1: pause; jmp 1b"
                     : "+m"(kept) : "r"(word) : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "memory");
}

/* ---- threads ---- */

static pthread_barrier_t barrier;
static __thread void *in_tls;
static pthread_key_t keys[64];

static void tls(void) { in_tls = keep(); ready(); }

static void *wait_with_local(void *unused)
{
    void *volatile local = keep();
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return local ? unused : NULL;
}

static void *wait_with_tls(void *unused)
{
    in_tls = keep();
    scrub();
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return unused;
}

static void *wait_with_keys(void *unused)
{
    /* The first 32 keys are in the control block, the others in a buffer. */
    pthread_setspecific(keys[2], keep());
    pthread_setspecific(keys[60], keep());
    scrub();
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return unused;
}

static void in_thread(void *(*run)(void *))
{
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&barrier);
    ready();
}

static void thread_stack(void) { in_thread(wait_with_local); }
static void thread_tls(void) { in_thread(wait_with_tls); }

static void thread_keys(void)
{
    for (int i = 0; i < 64; i++)
        pthread_key_create(&keys[i], NULL);
    in_thread(wait_with_keys);
}

static void *give_back(void *unused) { (void)unused; return keep(); }

/* A thread has ended, and nobody has asked yet for what it returned. */
static void thread_result(void)
{
    static pthread_t thread;
    pthread_create(&thread, NULL, give_back, NULL);
    usleep(100000);
    ready();
}

static void *end_soon(void *argument) { free(malloc(100)); return argument; }

static void threads_ended(void)
{
    pthread_t threads[20];
    for (int i = 0; i < 20; i++)
        pthread_create(&threads[i], NULL, end_soon, NULL);
    for (int i = 0; i < 20; i++)
        pthread_join(threads[i], NULL);
    ready();
}

static void *go_on(void *unused) { (void)unused; usleep(100000); ready(); return NULL; }

static void leader_ended(void)
{
    pthread_t thread;
    in_bss = keep();
    pthread_create(&thread, NULL, go_on, NULL);
    pthread_exit(NULL);
}

/* ---- threads away from their stacks ---- */

static void on_signal(int unused) { (void)unused; ready(); }

static NOINLINE void interrupted(void)
{
    void *volatile local = keep();
    raise(SIGUSR1);
    (void)local;
}

static void signal_stack(void)
{
    stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
    sigaltstack(&other, NULL);
    other.ss_sp = NULL;
    sigaction(SIGUSR1, &action, NULL);
    interrupted();
}

static void *signal_in_thread(void *unused) { (void)unused; signal_stack(); return NULL; }

static void thread_signal_stack(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, signal_in_thread, NULL);
    pthread_join(thread, NULL);
}

static ucontext_t outside, *inside;

static void coroutine(void)
{
    void *volatile local = keep();
    swapcontext(inside, &outside);
    ready();
    (void)local;
}

static void start_coroutine(void)
{
    inside = calloc(1, sizeof *inside);
    getcontext(inside);
    inside->uc_stack.ss_sp = malloc(65536);
    inside->uc_stack.ss_size = 65536;
    inside->uc_link = &outside;
    makecontext(inside, coroutine, 0);
    swapcontext(&outside, inside);
}

/* The coroutine waits, its stack is a buffer. */
static void coroutine_waits(void) { start_coroutine(); ready(); }

/* The coroutine runs, and the stack of main waits. */
static void coroutine_runs(void)
{
    void *volatile local = keep();
    start_coroutine();
    swapcontext(&outside, inside);
    (void)local;
}

static jmp_buf back;

static NOINLINE void jump(void) { lose(); longjmp(back, 1); }

static void jumped(void)
{
    in_bss = keep();
    if (setjmp(back) == 0)
        jump();
    is_twin = 1;
    ready();
}

/* ---- other memory ---- */

static void *map(int flags)
{
    return mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

static void mapped(void) { void **other = map(MAP_PRIVATE); other[100] = keep(); in_bss = other; ready(); }
static void shared(void) { void **other = map(MAP_SHARED); other[100] = keep(); in_bss = other; ready(); }

/* A mapping that nothing points to holds nothing alive, and is no leak. */
static void foreign(void)
{
    /* Between pages without access, so that the kernel does not join it with others. */
    char *volatile whole = mmap(NULL, 3 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **volatile other = (void **)(whole + (1 << 16));
    mprotect((void *)other, 1 << 16, PROT_READ | PROT_WRITE);
    other[100] = NULL;
    lose();
    whole = NULL;
    other = NULL;
    is_twin = 1;
    ready();
}

/* Two pieces of code, one of them no longer writable, that return a pointer: mov rax, address; ret. */
static void code(void)
{
    for (int i = 0; i < 2; i++) {
        unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        void *volatile kept = keep();
        memcpy(page + 1, "\x48\xb8", 2);
        memcpy(page + 3, (void *)&kept, sizeof kept);
        page[11] = 0xc3;
        kept = NULL;
        if (i)
            mprotect(page, 4096, PROT_READ | PROT_EXEC);
    }
    ready();
}

static void brk_area(void) { void **top = sbrk(4096); top[5] = keep(); in_bss = top; ready(); }

static void large(void) { void **block = calloc(1, 1 << 20); block[100000] = keep(); in_bss = block; ready(); }

static void interior(void) { in_bss = (char *)keep() + 8; ready(); }

static void *symbol(const char *name) { return dlsym(RTLD_DEFAULT, name); }

static void heap_arena(void)
{
    void *(*vmem_heap_arena)(void *, void *) = symbol("vmem_heap_arena");
    void *(*vmem_alloc)(void *, size_t, int) = symbol("vmem_alloc");
    void **segment = vmem_alloc(vmem_heap_arena(NULL, NULL), 8192, 0);
    segment[3] = keep();
    in_bss = segment;
    ready();
}

static void own_arena(void)
{
    void *allocate = NULL, *release = NULL;
    void *(*vmem_heap_arena)(void *, void *) = symbol("vmem_heap_arena");
    void *(*vmem_alloc)(void *, size_t, int) = symbol("vmem_alloc");
    void *(*vmem_create)(const char *, void *, size_t, size_t, void *, void *, void *, size_t, int) =
        symbol("vmem_create");
    void *heap = vmem_heap_arena(&allocate, &release);
    void *own = vmem_create("own", NULL, 0, 64, allocate, release, heap, 0, 0);
    void **one = vmem_alloc(own, 256, 0), **two = vmem_alloc(own, 256, 0);
    one[3] = keep();
    one[4] = two;
    two[5] = keep();
    in_bss = one;
    ready();
}

/* ---- libraries and processes ---- */

static void loaded(void)
{
    void *handle = dlopen(library, RTLD_NOW);
    void (*hold)(void *) = dlsym(handle, "hold"), (*hold_in_tls)(void *) = dlsym(handle, "hold_in_tls");
    hold(keep());
    hold_in_tls(keep());
    ready();
}

static void *use_tls(void *unused)
{
    void *handle = dlopen(library, RTLD_NOW);
    void (*hold_in_tls)(void *) = dlsym(handle, "hold_in_tls");
    hold_in_tls(keep());
    scrub();
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return unused;
}

static void thread_loaded(void) { in_thread(use_tls); }

static void unloaded(void)
{
    void *handle = dlopen(library, RTLD_NOW);
    void (*lose_or_not)(int) = dlsym(handle, "lose_in_library");
    lose_or_not(is_twin);
    scrub();
    dlclose(handle);
    is_twin = 1;
    ready();
}

static void child(void)
{
    in_bss = keep();
    pid_t pid = fork();
    if (pid == 0)
        ready();
    waitpid(pid, NULL, 0);
}

/* ---- shapes of what is lost ---- */

struct node { struct node *next; void *payload; };

static NOINLINE struct node *make_list(int length)
{
    struct node *list = NULL;
    for (int i = 0; i < length; i++) {
        struct node *node = malloc(sizeof *node);
        node->next = list;
        node->payload = malloc(20);
        list = node;
    }
    return list;
}

static NOINLINE void free_list(struct node *list)
{
    while (list) {
        struct node *next = list->next;
        free(list->payload);
        free(list);
        list = next;
    }
}

static void list(void)
{
    struct node *volatile lost = make_list(20000);
    if (is_twin)
        free_list(lost);
    lost = NULL;
    is_twin = 1;
    ready();
}

static void cycle(void)
{
    struct node *volatile last = make_list(7), *volatile at = last;
    while (at->next)
        at = at->next;
    if (is_twin)
        free_list(last);
    else
        at->next = last;
    at = last = NULL;
    is_twin = 1;
    ready();
}

/* A thread pool at rest: its tasks wait in a queue, its workers for a signal. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct node *queue;

static void *worker(void *name)
{
    void *volatile own = keep();
    pthread_barrier_wait(&barrier);
    pthread_mutex_lock(&lock);
    for (;;)
        pthread_cond_wait(&work, &lock);
    return own ? name : NULL;
}

static void pool(void)
{
    pthread_t threads[4];
    queue = make_list(10);
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, worker, malloc(16));
    pthread_barrier_wait(&barrier);
    ready();
}

static const struct { const char *name; void (*run)(void); } scenarios[] = {
    { "bss", bss }, { "data", data }, { "stack", stack }, { "register", reg }, { "redzone", redzone },
    { "tls", tls }, { "thread_stack", thread_stack }, { "thread_tls", thread_tls }, { "thread_keys", thread_keys },
    { "thread_result", thread_result }, { "threads_ended", threads_ended }, { "leader_ended", leader_ended },
    { "signal_stack", signal_stack }, { "thread_signal_stack", thread_signal_stack },
    { "coroutine_waits", coroutine_waits }, { "coroutine_runs", coroutine_runs }, { "jumped", jumped },
    { "mapped", mapped }, { "shared", shared }, { "foreign", foreign }, { "code", code }, { "brk_area", brk_area }, { "large", large },
    { "interior", interior }, { "heap_arena", heap_arena }, { "own_arena", own_arena }, { "loaded", loaded },
    { "thread_loaded", thread_loaded }, { "unloaded", unloaded }, { "child", child }, { "list", list },
    { "cycle", cycle }, { "pool", pool },
};

int main(int count, char **words)
{
    is_twin = count > 3;
    library = count > 2 ? words[2] : NULL;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (count > 1 && strcmp(words[1], scenarios[i].name) == 0)
            scenarios[i].run();
    return 2;
}
