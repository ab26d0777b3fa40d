/* Says whether the process runs with raised privileges, and whether UMEM_DEBUG counts: a debugged buffer has exactly the size that was asked for. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

int main(void)
{
    void *buffer = malloc(101);
    printf("secure=%lu exact=%d\n", getauxval(AT_SECURE), malloc_usable_size(buffer) == 101);
    free(buffer);
    return 0;
}
