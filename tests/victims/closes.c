// flags: -g -O1 -fno-builtin -pthread
/*
 * A program that does not run under the library opens it, allocates from several threads, and closes it while they live. Then
 * threads end, the process forks, and all begins again.
 *
 *   closes PATH
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, ROUNDS = 5 };

static void *(*allocate)(size_t, int);
static void (*release)(void *, size_t);
static atomic_int served;
static pthread_barrier_t closed;

static void *work(void *nothing)
{
    char *buffer = allocate(64, 0);
    memset(buffer, 1, 64);
    served++;
    pthread_barrier_wait(&closed);
    release(buffer, 64);
    return nothing;
}

static int fail(const char *what)
{
    puts(what);
    return 1;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    int status;
    if (count < 2)
        return 2;
    for (int round = 0; round < ROUNDS; round++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!library)
            return fail(dlerror());
        *(void **)&allocate = dlsym(library, "umem_alloc");
        *(void **)&release = dlsym(library, "umem_free");
        pthread_barrier_init(&closed, NULL, THREADS + 1);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, work, NULL);
        while (served < THREADS * (round + 1))
            sched_yield();
        if (dlclose(library))
            return fail(dlerror());
        pthread_barrier_wait(&closed);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (waitpid(child, &status, 0) != child || status)
            return fail("a child failed");
    }
    puts("ok");
    return 0;
}
