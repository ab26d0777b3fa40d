// flags: -g -O0 -fno-builtin -pthread
/*
 * Makes one system call again and again (or with "all" each one in a thread of its own), and looks at every result: none
 * may be what a call returns that was interrupted, come too early, or find a child or a signal that nobody made.
 * A child wakes the calls that would wait for ever. With "lenient" behind the name, calls that the kernel never restarts
 * (signal(7)) may be interrupted. Answers every byte on standard input with its successor, or
 * with '!' after the first wrong result, which is told on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS 20
static const struct timespec step = {0, MS * 1000000};
static volatile int failed;
static volatile int woken;
static volatile int children_ended;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int lenient;

static void wrong(const char *call, long result)
{
    static const char *never_restarted[] = {"epoll_wait", "epoll_pwait", "recv", "sigtimedwait", "semtimedop"};
    for (int i = 0; lenient && i < 5; i++)
        if (result == -1 && errno == EINTR && strcmp(call, never_restarted[i]) == 0)
            return;
    fprintf(stderr, "%s: %ld, %s\n", call, result, strerror(errno));
    failed = 1;
}

/* A call with a timeout: nothing happens, and not before its time. */
static void timed(const char *call, double begin, long result, long expected, int error)
{
    if (result != expected || (result < 0 && errno != error))
        wrong(call, result);
    else if (now() - begin < MS - 1)
        wrong("early", (long)(now() - begin));
}

static void do_nanosleep(void)
{
    double begin = now();
    timed("nanosleep", begin, nanosleep(&step, NULL), 0, 0);
}

static void do_clock_nanosleep(void)
{
    double begin = now();
    timed("clock_nanosleep", begin, clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL), 0, 0);
}

static void do_futex(void)
{
    static int word;
    double begin = now();
    timed("futex", begin, syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &step, NULL, 0), -1, ETIMEDOUT);
}

static void do_condition(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    if ((end.tv_nsec += MS * 1000000) >= 1000000000)
        end.tv_nsec -= 1000000000, end.tv_sec++;
    pthread_mutex_lock(&mutex);
    double begin = now();
    timed("condition", begin, pthread_cond_timedwait(&condition, &mutex, &end), ETIMEDOUT, 0);
    pthread_mutex_unlock(&mutex);
}

static void do_poll(void)
{
    double begin = now();
    timed("poll", begin, poll(NULL, 0, MS), 0, 0);
}

static void do_ppoll(void)
{
    double begin = now();
    sigset_t none;
    sigemptyset(&none);
    timed("ppoll", begin, ppoll(NULL, 0, &step, &none), 0, 0);
}

static void do_select(void)
{
    struct timeval time = {0, MS * 1000};
    double begin = now();
    timed("select", begin, select(0, NULL, NULL, NULL, &time), 0, 0);
}

static void do_epoll(void)
{
    static int set = -1;
    struct epoll_event event;
    if (set < 0)
        set = epoll_create1(0);
    double begin = now();
    timed("epoll_wait", begin, epoll_wait(set, &event, 1, MS), 0, 0);
}

static void do_epoll_pwait(void)
{
    static int set = -1;
    struct epoll_event event;
    sigset_t none;
    sigemptyset(&none);
    if (set < 0)
        set = epoll_create1(0);
    double begin = now();
    timed("epoll_pwait", begin, epoll_pwait(set, &event, 1, MS, &none), 0, 0);
}

static void do_recv(void)
{
    static int ends[2] = {-1, -1};
    struct timeval time = {0, MS * 1000};
    char byte;
    if (ends[0] < 0) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    }
    double begin = now();
    timed("recv", begin, recv(ends[0], &byte, 1, 0), -1, EAGAIN);
}

static void do_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    double begin = now();
    timed("sigtimedwait", begin, sigtimedwait(&set, NULL, &step), -1, EAGAIN);
}

static void do_semtimedop(void)
{
    static int id = -1;
    struct sembuf take = {0, -1, 0};
    if (id < 0)
        id = semget(IPC_PRIVATE, 1, 0600);
    double begin = now();
    timed("semtimedop", begin, semtimedop(id, &take, 1, &step), -1, EAGAIN);
    semctl(id, 0, IPC_RMID);
    id = -1;
}

/* Starts a child that does something every step, until this process ends. */
static void every_step(void (*action)(int), int argument)
{
    pid_t parent = getpid();
    if (fork() == 0) {
        signal(SIGUSR1, SIG_DFL);
        while (getppid() == parent) {
            nanosleep(&step, NULL);
            action(argument);
        }
        _exit(0);
    }
}

static void write_byte(int end)
{
    write(end, "x", 1);
}

static void do_read(void)
{
    static int ends[2] = {-1, -1};
    char byte = 0;
    if (ends[0] < 0) {
        pipe(ends);
        every_step(write_byte, ends[1]);
    }
    long got = read(ends[0], &byte, 1);
    if (got != 1 || byte != 'x')
        wrong("read", got);
}

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void call_up(int ignored)
{
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)ignored;
    connect(end, (struct sockaddr *)&address, sizeof(sa_family_t) + 12);
    close(end);
}

static void do_accept(void)
{
    static int end = -1;
    if (end < 0) {
        /* An abstract name. */
        snprintf(address.sun_path + 1, 12, "u%010d", getpid());
        end = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(end, (struct sockaddr *)&address, sizeof(sa_family_t) + 12) || listen(end, 5))
            wrong("listen", 0);
        every_step(call_up, 0);
    }
    int got = accept(end, NULL, NULL);
    if (got < 0)
        wrong("accept", got);
    close(got);
}

static void on_wake(int signal)
{
    (void)signal;
    woken++;
}

static void wake(int pid)
{
    kill(pid, SIGUSR1);
}

static void waits(const char *call, void (*wait)(void))
{
    static int started;
    if (!started++) {
        signal(SIGUSR1, on_wake);
        every_step(wake, getpid());
    }
    /* A signal between this and the call is not seen; another one comes. */
    int before = woken;
    errno = 0;
    wait();
    if (errno != EINTR || woken == before)
        wrong(call, woken - before);
}

static void call_pause(void)
{
    pause();
}

static void call_sigsuspend(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigsuspend(&none);
}

static void do_pause(void)
{
    waits("pause", call_pause);
}

static void do_sigsuspend(void)
{
    waits("sigsuspend", call_sigsuspend);
}

static void do_wait4(void)
{
    pid_t child = fork();
    if (child == 0) {
        nanosleep(&step, NULL);
        _exit(7);
    }
    int status = 0;
    pid_t got = waitpid(child, &status, 0);
    if (got != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
        wrong("wait4", got);
    children_ended = 0;
}

static void do_msgrcv(void)
{
    static int id = -1;
    static struct { long type; char byte; } message = {1, 'm'};
    if (id < 0) {
        id = msgget(IPC_PRIVATE, 0600);
        if (fork() == 0) {
            pid_t parent = getppid();
            while (getppid() == parent && nanosleep(&step, NULL) == 0)
                msgsnd(id, &message, 1, 0);
            msgctl(id, IPC_RMID, NULL);
            _exit(0);
        }
    }
    long got = msgrcv(id, &message, 1, 0, 0);
    if (got != 1)
        wrong("msgrcv", got);
}

static void do_compute(void)
{
    volatile double sum = 0;
    volatile long product = 1;
    for (int i = 1; i < 200000; i++) {
        sum += 1.0 / i;
        product = product * 3 + i;
    }
    static double first_sum;
    static long first_product;
    if (first_sum == 0)
        first_sum = sum, first_product = product;
    if (sum != first_sum || product != first_product)
        wrong("compute", product);
}

static const struct { const char *name; void (*once)(void); } calls[] = {
    {"nanosleep", do_nanosleep}, {"clock_nanosleep", do_clock_nanosleep}, {"futex", do_futex},
    {"condition", do_condition}, {"poll", do_poll}, {"ppoll", do_ppoll}, {"select", do_select},
    {"epoll_wait", do_epoll}, {"epoll_pwait", do_epoll_pwait}, {"recv", do_recv},
    {"sigtimedwait", do_sigtimedwait}, {"semtimedop", do_semtimedop}, {"read", do_read},
    {"accept", do_accept}, {"msgrcv", do_msgrcv}, {"compute", do_compute},
    /* Only alone: they are about signals and children of the whole process. */
    {"pause", do_pause}, {"sigsuspend", do_sigsuspend}, {"wait4", do_wait4},
};
#define COUNT (sizeof calls / sizeof *calls)
#define ALONE 3

static void on_child(int signal)
{
    (void)signal;
    children_ended++;
}

static void *for_ever(void *once)
{
    for (;;)
        ((void (*)(void))once)();
    return NULL;
}

/* Nothing is there that was not there before: children, signals, the signal mask. */
static void look_around(const sigset_t *before)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int signal = 1; signal < 65; signal++)
        if (sigismember(&mask, signal) != sigismember(before, signal))
            wrong("signal mask", signal);
    if (children_ended)
        wrong("SIGCHLD", children_ended);
    int status;
    pid_t found = waitpid(-1, &status, WNOHANG | __WALL);
    if (found > 0 || (found < 0 && errno != ECHILD))
        wrong("a child ended", found);
}

static void answer(const sigset_t *mask)
{
    char byte;
    if (read(0, &byte, 1) != 1)
        exit(0);
    look_around(mask);
    byte = failed ? '!' : byte + 1;
    write(1, &byte, 1);
}

int main(int argc, char **argv)
{
    sigset_t mask;
    const char *name = argc > 1 ? argv[1] : "all";
    lenient = argc > 2;
    signal(SIGCHLD, on_child);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    char *volatile buffer = malloc(100);
    buffer[0] = 1;
    if (strcmp(name, "all") == 0) {
        for (unsigned i = 0; i < COUNT - ALONE; i++) {
            pthread_t thread;
            calls[i].once();
            if (pthread_create(&thread, NULL, for_ever, calls[i].once))
                return 1;
        }
        write(1, "ready\n", 6);
        for (;;)
            answer(&mask);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        if (strcmp(name, calls[i].name))
            continue;
        calls[i].once();
        write(1, "ready\n", 6);
        for (;;) {
            struct pollfd asked = {0, POLLIN, 0};
            calls[i].once();
            if (poll(&asked, 1, 0) == 1)
                answer(&mask);
        }
    }
    return 2;
}
