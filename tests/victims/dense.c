// flags: -g -O2 -fno-builtin
/*
 * A heap full of pointers: `dense BUFFERS POINTERS`. A list of buffers, each of which holds so many pointers: the first to
 * the next one, the others anywhere. One static leads to the first.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void **volatile first;

static uint64_t random_below(uint64_t limit)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 16) % limit;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t count = strtoul(argv[1], NULL, 10), pointers = strtoul(argv[2], NULL, 10);
    void ***all = malloc(count * sizeof *all);
    for (size_t i = 0; i < count; i++)
        all[i] = malloc(pointers * sizeof **all);
    for (size_t i = 0; i < count; i++) {
        all[i][0] = all[(i + 1) % count];
        for (size_t j = 1; j < pointers; j++)
            all[i][j] = all[random_below(count)];
    }
    first = all[0];
    free(all);
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
