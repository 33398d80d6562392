/* SPDX-License-Identifier: MIT */
/*
 * The program that is run to find out whether programs can be run on a level.
 * It is made here, as no file is sure to be on every machine: it does nothing
 * but end with EX_PROBE_CODE. Hides its bytes.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner_isolate.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3 */
#endif

#define BASE 0x400000U /* where it is in memory */

/* exit_group(EX_PROBE_CODE); */
#if defined(__x86_64__)
#define MACHINE EM_X86_64
static const unsigned char code[] = {0xbf, EX_PROBE_CODE, 0, 0, 0, /* mov edi */
                                     0xb8, 231,           0, 0, 0, /* mov eax */
                                     0x0f, 0x05};                  /* syscall */
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#define MOVE(reg, value) (0xd2800000U | (value) << 5 | (reg))
static const unsigned code[] = {
    MOVE(0U, EX_PROBE_CODE), MOVE(8U, 94U), 0xd4000001U};
#else
#define MACHINE EM_NONE
static const unsigned char code[] = {0};
#endif

typedef struct image {
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    unsigned char code[sizeof code];
} image;

static void fill(image *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->head.e_ident, ELFMAG, SELFMAG);
    out->head.e_ident[EI_CLASS] = ELFCLASS64;
    out->head.e_ident[EI_DATA] = ELFDATA2LSB;
    out->head.e_ident[EI_VERSION] = EV_CURRENT;
    out->head.e_type = ET_EXEC;
    out->head.e_machine = MACHINE;
    out->head.e_version = EV_CURRENT;
    out->head.e_entry = BASE + offsetof(image, code);
    out->head.e_phoff = offsetof(image, segment);
    out->head.e_ehsize = sizeof out->head;
    out->head.e_phentsize = sizeof out->segment;
    out->head.e_phnum = 1;
    out->segment.p_type = PT_LOAD;
    out->segment.p_flags = PF_R | PF_X;
    out->segment.p_vaddr = BASE;
    out->segment.p_filesz = sizeof *out;
    out->segment.p_memsz = sizeof *out;
    out->segment.p_align = 0x10000;
    memcpy(out->code, code, sizeof code);
}

/* A kernel that does not know the flag lets all of them be executed. */
static int make_memory(void)
{
    int fd = memfd_create("executr-probe", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("executr-probe", MFD_CLOEXEC);
    return fd;
}

int ex_probe_open(void)
{
    image program;

    int made = make_memory();
    if (made < 0)
        return -1;
    /* 0 to 2 are the program's own. */
    int fd = fcntl(made, F_DUPFD_CLOEXEC, 3);
    close(made);
    if (fd < 0)
        return -1;
    fill(&program);
    if (write(fd, &program, sizeof program) == (ssize_t)sizeof program &&
        fchmod(fd, 0555) == 0)
        return fd;
    close(fd);
    return -1;
}
