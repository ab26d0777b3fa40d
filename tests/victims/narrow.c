/*
 * A handler that allocates on an alternate stack of so many bytes more than the kernel's own frame takes, right above a page that cannot be
 * touched. It is the first one to be called from where it is.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile unsigned long sum;
static volatile int allocates;
static char *volatile frame;

static void handler(int number)
{
    frame = __builtin_frame_address(0);
    if (allocates) {
        void *pointer = malloc(70 + number);
        sum += (unsigned long)pointer;
        free(pointer);
    }
}

/* Has the handler run on a stack of so many bytes; returns how many the kernel's frame took of them. */
static size_t run(size_t size)
{
    size_t whole = (size + 4095) & ~4095UL;
    char *room = mmap(NULL, whole + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* The stack begins right behind the page. */
    mprotect(room, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = room + 4096, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0)
        perror("sigaltstack");
    raise(SIGUSR1);
    return room + 4096 + size - frame;
}

int main(int count, char **args)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    free(malloc(10));
    sigaction(SIGUSR1, &action, NULL);
    size_t taken = run(64 << 10);
    allocates = 1;
    run((taken + (count > 1 ? strtoul(args[1], NULL, 0) : 0)) & ~15UL);
    puts("ok");
    return 0;
}
