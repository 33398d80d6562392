/* SPDX-License-Identifier: MIT */
/* A frozen process takes no signal, like one that waits for a disk. */
#ifndef TEST_SUPPORT_FREEZER_H
#define TEST_SUPPORT_FREEZER_H

/* Freeze one process; where control groups have no freezer the test is skipped
 * and says so. */
void freeze(int pid);
void thaw(void);

#endif
