/* SPDX-License-Identifier: MIT */
/* The memory that only the start of a program needs. */
#ifndef APP_PAGES_H
#define APP_PAGES_H

/* Most code of thirty libraries is read once, by the loader and their set-up,
 * and would count as this program's until memory is short. What is used again
 * comes back from the file system's cache. */
void app_give_back_code(void);

#endif
