/*
 * Allocations that are made to fail: says how many of 10,000 failed, and complains when errno does not say why.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    static char buffer[200];
    int failed = 0;
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (int i = 0; i < 10000; i++) {
        errno = 0;
        void *p = malloc(24);
        if (p == NULL && errno != ENOMEM)
            return 1;
        failed += p == NULL;
        free(p);
    }
    printf("%d\n", failed);
    return 0;
}
