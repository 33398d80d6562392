/* SPDX-License-Identifier: MIT */
/* Opens an embedded store given by URL and says what it is. */
#include <executr/executr.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    executr_store *store = NULL;
    executr_error err;

    if (argc != 2) {
        fprintf(stderr, "usage: consumer STORE_URL\n");
        return 2;
    }
    if (executr_store_open(argv[1], NULL, &store, &err)) {
        fprintf(stderr, "consumer: %s\n", err.message);
        return 1;
    }
    printf("%s %s\n", executr_version(), executr_store_kind(store));
    executr_store_free(store);
    return 0;
}
