/* SPDX-License-Identifier: MIT */
/*
 * Criterion's runner forks while a thread of its own runs, and the address
 * sanitizer's allocator is not made for that: if the thread holds the lock of a
 * size class just then, the child's first allocation of that size waits for
 * ever. The main thread takes a batch of every small size before there is any
 * other thread, so that the child finds what it needs without a lock.
 */
#include <stdlib.h>

__attribute__((constructor)) static void warm_allocator(void)
{
    for (size_t size = 16; size <= 4096; size += 16) {
        void *volatile memory = malloc(size);
        free(memory);
    }
}
