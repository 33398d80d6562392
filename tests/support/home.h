/* SPDX-License-Identifier: MIT */
/* A directory for one test, made by its .init and removed by its .fini. */
#ifndef TEST_SUPPORT_HOME_H
#define TEST_SUPPORT_HOME_H

/* Under /tmp, or in memory, because disks take long to make deep trees. */
void make_home(void);
void make_fast_home(void);

void drop_home(void);

/* A path in it ("" is itself); lasts until the next call. */
const char *in_home(const char *name);

/* Make a directory with its parents, or a file with this text. */
void make_dir(const char *name);
void make_file(const char *name, const char *text);

/* 1 if there is such a name, a link to nowhere included. */
int exists(const char *name);

/* How many entries the directory itself has. */
int home_entries(void);

#endif
