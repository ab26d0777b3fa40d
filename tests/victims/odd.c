// flags: -g -O0 -fno-builtin -pthread
/*
 * A process in a state that a debugger seldom sees, with one leak of 33 bytes and nothing else lost:
 *   apart     three buffers that only memory points to which fork leaves out: MADV_DONTFORK, MADV_WIPEONFORK, shared
 *   vfork     the main thread waits for a child of vfork, another one answers
 *   leader    the main thread has ended, another one holds a buffer and answers
 *   realtime  a timer sends real-time signals all the time
 *   strict    a seccomp filter ends the process for clone
 *   container a seccomp filter as containers have: no new namespaces, and system calls that it does not know fail
 *   half      the main thread has the filter of strict, the one that answers has none
 *   threads   threads are born and die all the time
 *   exec      it calls execve all the time, beside other threads
 * Answers every byte on standard input with its successor (exec does not), and loses 33 bytes more for each 'l'.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void *kept[3];
static volatile int signals;

static void lose(void)
{
    char *volatile lost = malloc(33);
    lost[0] = 1;
    lost = NULL;
}

static void *ready(void *unused)
{
    char byte;
    write(1, "ready\n", 6);
    while (read(0, &byte, 1) == 1) {
        if (byte == 'l')
            lose();
        byte++;
        write(1, &byte, 1);
    }
    _exit(0);
    return unused;
}

static void start(void *(*function)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, NULL))
        _exit(1);
    pthread_detach(thread);
}

/* A page of its own, which alone points to a buffer. */
static void *page(int flags, int advice)
{
    void **made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (advice && madvise(made, 4096, advice))
        _exit(1);
    made[5] = malloc(100);
    return made;
}

/* The state of the main thread, as /proc shows it. */
static char leader_state(void)
{
    char text[256] = "";
    int file = open("/proc/self/stat", O_RDONLY);
    read(file, text, sizeof text - 1);
    close(file);
    char *end = strrchr(text, ')');
    return end ? end[2] : '?';
}

static void *after_leader(void *unused)
{
    char *volatile buffer = malloc(200);
    buffer[0] = 1;
    while (leader_state() != 'Z')
        usleep(1000);
    return ready(unused);
}

static void *during_vfork(void *unused)
{
    while (leader_state() != 'D')
        usleep(1000);
    return ready(unused);
}

static void *during_read(void *unused)
{
    while (leader_state() != 'S')
        usleep(1000);
    return ready(unused);
}

static void on_signal(int signal)
{
    (void)signal;
    signals++;
}

static void send_signals(void)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
    struct itimerspec often = {{0, 50000}, {0, 50000}};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGRTMIN + 3, &action, NULL);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &often, NULL);
}

static void install(struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = {count, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(1);
}

static void forbid_clone(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof *filter);
}

static void confine(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7e020000, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    install(filter, sizeof filter / sizeof *filter);
}

static void *short_life(void *unused)
{
    free(malloc(64));
    return unused;
}

static void *births(void *unused)
{
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, short_life, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return unused;
}

static void *sleeps(void *unused)
{
    pause();
    return unused;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    lose();
    if (strcmp(name, "apart") == 0) {
        /* The addresses of the pages are kept where nobody looks for buffers: they are no buffers. */
        kept[0] = page(MAP_PRIVATE, MADV_DONTFORK);
        kept[1] = page(MAP_PRIVATE, MADV_WIPEONFORK);
        kept[2] = page(MAP_SHARED, 0);
    } else if (strcmp(name, "vfork") == 0) {
        start(during_vfork);
        if (vfork() == 0) {
            pause();
            _exit(0);
        }
    } else if (strcmp(name, "leader") == 0) {
        start(after_leader);
        pthread_exit(NULL);
    } else if (strcmp(name, "realtime") == 0) {
        send_signals();
    } else if (strcmp(name, "strict") == 0) {
        forbid_clone();
    } else if (strcmp(name, "container") == 0) {
        confine();
    } else if (strcmp(name, "half") == 0) {
        int ends[2];
        start(during_read);
        forbid_clone();
        /* The first thread that would be asked: its call can be restarted without a trace. */
        while (pipe(ends) == 0)
            read(ends[0], ends, 1);
    } else if (strcmp(name, "threads") == 0) {
        start(births);
        start(births);
    } else if (strcmp(name, "exec") == 0) {
        if (argc == 2)
            write(1, "ready\n", 6);
        start(sleeps);
        usleep(2000);
        execl("/proc/self/exe", argv[0], name, "again", NULL);
    } else {
        return 2;
    }
    ready(NULL);
    return 0;
}
