/*
 * umem.h - libumem: sized allocation, object caches, and arenas.
 *
 * Link with -lumem. malloc(3) and its kin, and operator new, come from the same library and need no header of ours.
 * No lock of the library is held while a function of the program is called.
 */
#ifndef UMEM_H
#define UMEM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sized allocation ---- */

/* Flags of allocations. */
#define UMEM_DEFAULT 0x0000 /* may fail: NULL */
#define UMEM_NOFAIL  0x0100 /* may not: see umem_nofail_callback */
#define UMEM_FLAGS   0xffff /* flags that can be set */

/*
 * Allocates size bytes; NULL when size is 0, or when there is no memory and the allocation may fail. errno is left alone.
 * Sizes of 16 and more are aligned to 16, multiples of 64 to 64, multiples of the page size to a page.
 */
void *umem_alloc(size_t size, int flags);
/* The same, all bytes zero. */
void *umem_zalloc(size_t size, int flags);
/* Frees what umem_alloc or umem_zalloc gave for exactly this size. (NULL, 0) is allowed. */
void umem_free(void *buffer, size_t size);

/* Allocates at a multiple of align; NULL also when size is 0 or align is no power of two. */
void *umem_alloc_align(size_t size, size_t align, int flags);
/* Frees what umem_alloc_align gave for exactly this size. (NULL, 0) is allowed. */
void umem_free_align(void *buffer, size_t size);

/*
 * What happens when an allocation with UMEM_NOFAIL has failed: the callback says to try again or to exit(3), or it
 * does not return (longjmp(3), pthread_exit(3)). Other results count as UMEM_CALLBACK_EXIT(255), and so does NULL for a callback.
 */
typedef int umem_nofail_callback_t(void);
#define UMEM_CALLBACK_RETRY        0
#define UMEM_CALLBACK_EXIT(status) (0x100 | ((status) & 0xff))
void umem_nofail_callback(umem_nofail_callback_t *callback);

/* ---- object caches ---- */

typedef struct umem_cache umem_cache_t;
typedef struct vmem vmem_t;

/* Makes an object of a buffer; 0 when it could. Nested allocations get the same flags. */
typedef int umem_constructor_t(void *buffer, void *data, int flags);
/* Ends an object. */
typedef void umem_destructor_t(void *buffer, void *data);
/* Asks the program to free objects that it can do without. */
typedef void umem_reclaim_t(void *data);

/* Flags of caches. */
#define UMC_NODEBUG    0x00020000 /* no debugging whatever UMEM_DEBUG says */
/* Private: */
#define UMC_NOTOUCH    0x00010000
#define UMC_NOMAGAZINE 0x00040000
#define UMC_NOHASH     0x00080000

/*
 * Creates a cache of objects of size bytes at multiples of align (0: 8, or 16 from 16 bytes on; else a power of two up
 * to the page size). The functions and data may be NULL. source is NULL, or an arena over memory of the heap.
 * NULL with errno EINVAL (an argument), ENOMEM (objects too large) or EAGAIN (no memory for the cache).
 *
 * An object stays constructed while it is free, and is handed out again as it was freed. In debugged caches, where free memory is
 * filled with a pattern, it is constructed at each allocation and destructed at each free.
 */
umem_cache_t *umem_cache_create(const char *name, size_t size, size_t align, umem_constructor_t *constructor,
                                umem_destructor_t *destructor, umem_reclaim_t *reclaim, void *data,
                                vmem_t *source, int cflags);
/* Ends a cache, all of whose objects were freed; no thread uses it any more. */
void umem_cache_destroy(umem_cache_t *cache);
/* An object in constructed state; NULL when there is no memory or the constructor failed, and the allocation may fail. */
void *umem_cache_alloc(umem_cache_t *cache, int flags);
/* Frees an object, which is in constructed state. */
void umem_cache_free(umem_cache_t *cache, void *buffer);

/* ---- the library ---- */

/* Gives free memory back, calling the reclaim functions first; at most once in a reap interval (10 s). */
void umem_reap(void);
/*
 * Checks every buffer, free or allocated, of the caches that are debugged. What is damaged is reported as it
 * would be at a free: on standard error, and then the process is aborted unless UMEM_DEBUG=noabort is set. Returns the number of
 * damaged buffers. A buffer that another thread has in its hands is passed over.
 */
size_t umem_verify(void);
/* With guards on, an allocation that may fail does so when the nanosecond clock is a multiple of the interval; 0 is off. */
void umem_setmtbf(unsigned int interval);

/* ---- arenas ---- */

/* Flags of allocations from arenas. */
#define VM_SLEEP    0x00000000 /* as VM_NOSLEEP */
#define VM_NOSLEEP  0x00000001 /* NULL on failure */
#define VM_PANIC    0x00000002 /* end the process on failure */
#define VM_BESTFIT  0x00000100 /* the smallest piece that fits */
#define VM_FIRSTFIT 0x00000200 /* the first piece that fits */
#define VM_NEXTFIT  0x00000400 /* the first piece that fits behind the last allocation */
/* Flags of creation; taken, without effect. */
#define VMC_POPULATOR  0x00010000
#define VMC_NO_QCACHE  0x00020000
#define VMC_IDENTIFIER 0x00040000

/* Types of pieces, for vmem_walk and vmem_size. */
#define VMEM_ALLOC     0x00000001
#define VMEM_FREE      0x00000002
#define VMEM_SPAN      0x00000010
#define VMEM_ROTOR     0x00000020
#define VMEM_WALKER    0x00000040
#define VMEM_REENTRANT 0x80000000

typedef void *vmem_alloc_t(vmem_t *arena, size_t size, int flags);
typedef void vmem_free_t(vmem_t *arena, void *address, size_t size);

/*
 * Creates an arena of numbers, addresses as a rule, which are handed out in multiples of quantum, a power of two. base and size: its
 * first span, or NULL and 0. import and release: where further spans come from and go to, called with source; NULL: nowhere.
 * qcache_max: pieces of up to so many bytes, and of up to 16 quanta, come from caches of their own. NULL when there is no memory.
 * The library touches nothing in the spans. Misuse of the functions below ends the process with a message.
 */
vmem_t *vmem_create(const char *name, void *base, size_t size, size_t quantum, vmem_alloc_t *import,
                    vmem_free_t *release, vmem_t *source, size_t qcache_max, int flags);
void vmem_destroy(vmem_t *arena);
/* Adds a span, which is a multiple of the quantum and overlaps none; its address, or NULL when there is no memory. */
void *vmem_add(vmem_t *arena, void *address, size_t size, int flags);
/* Allocates a piece; the exact size is to be given to vmem_free. */
void *vmem_alloc(vmem_t *arena, size_t size, int flags);
void vmem_free(vmem_t *arena, void *address, size_t size);
/*
 * Allocates a piece that starts at phase modulo align, crosses no multiple of nocross, and lies in [minaddr, maxaddr); 0 and
 * NULL stand for no such limit. With nocross, minaddr or maxaddr no span is imported.
 */
void *vmem_xalloc(vmem_t *arena, size_t size, size_t align, size_t phase, size_t nocross, void *minaddr,
                  void *maxaddr, int flags);
void vmem_xfree(vmem_t *arena, void *address, size_t size);
/* 1 when the range lies wholly in one span. */
int vmem_contains(vmem_t *arena, void *address, size_t size);
/* Calls visit for each piece of the types in typemask, as the arena was at the call; visit may use the arena. */
void vmem_walk(vmem_t *arena, int typemask, void (*visit)(void *data, void *start, size_t size), void *data);
/* VMEM_ALLOC: bytes in use; VMEM_FREE: bytes free; both: all bytes. */
size_t vmem_size(vmem_t *arena, int typemask);
/* The arena of the heap, and the functions to import from it; NULL when the library could not be set up. */
vmem_t *vmem_heap_arena(vmem_alloc_t **alloc, vmem_free_t **release);

#ifdef __cplusplus
}
#endif

#endif
