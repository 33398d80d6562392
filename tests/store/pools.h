/* SPDX-License-Identifier: MIT */
/* What tests of the connection pool share. */
#ifndef TESTS_STORE_POOLS_H
#define TESTS_STORE_POOLS_H

#include "store/pool.h"
#include "store/suite.h"

int64_t in_ms(int64_t ms); /* a deadline */
/* The test's database with more parameters; lasts until the next call. */
const char *url_with(const char *parameters);
ex_pool *open_pool(const char *parameters);
/* The port of a server that takes connections and says nothing. */
int open_black_hole(void);

/* " FROM … WHERE …": the backends of executr's connections to the test's
 * database. */
extern const char executr_backends[];
void kill_backends(void);

#endif
