// flags: -g -O0 -fno-builtin -shared -fPIC
/* A library for roots.c: it holds what it is given, in its data and in its TLS, and loses something. */
#include <stdlib.h>
#include <string.h>

static void *held[100];
static __thread void *held_in_tls[100];

void hold(void *kept) { held[50] = kept; }
void hold_in_tls(void *kept) { held_in_tls[50] = kept; }

void lose_in_library(int is_twin)
{
    void *lost = malloc(40);
    memset(lost, 0, 40);
    held[1] = lost;
    if (is_twin)
        free(lost);
}
