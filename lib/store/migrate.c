/* SPDX-License-Identifier: MIT */
/* Brings a schema up to date; hides nothing but the order of things. */
#include "store.h"

#include "base/fail.h"

executr_status ex_migrate(
    const ex_migrator *migrator, const ex_migration *migrations, size_t count,
    executr_error *err)
{
    int32_t version = 0;

    executr_status st = migrator->version(migrator->ctx, &version, err);
    if (st)
        return st;
    int32_t newest = count ? migrations[count - 1].version : 0;
    if (version > newest)
        return ex_fail(
            err, EXECUTR_E_UNSUPPORTED,
            "the database has schema version %d and this release of executr "
            "knows %d: use a newer release",
            (int)version, (int)newest);
    for (size_t i = 0; i < count && !st; i++) {
        if (migrations[i].version > version)
            st = migrator->apply(migrator->ctx, &migrations[i], err);
    }
    return st;
}
