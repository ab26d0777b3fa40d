/*
 * Ends as it is told: with a status, by exit in a callee of main, or by a signal. It has allocated before and lost
 * one buffer.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void leave(void)
{
    exit(3);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "0";
    malloc(70);
    free(malloc(30));
    if (strcmp(how, "exit") == 0)
        leave();
    if (strcmp(how, "SIGTERM") == 0)
        raise(SIGTERM);
    if (strcmp(how, "SIGABRT") == 0)
        raise(SIGABRT);
    if (strcmp(how, "SIGKILL") == 0)
        raise(SIGKILL);
    return atoi(how);
}
