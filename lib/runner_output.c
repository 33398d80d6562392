/* SPDX-License-Identifier: MIT */
/* Output of a program that still runs, out of what is captured of it anyway:
 * no copy is kept, and no program waits for whoever reads. */
#include "runner.h"

/* NOLINTNEXTLINE(readability-function-size): frozen in the ABI */
size_t executr_runner_output(
    const executr_runner *runner, uint64_t token, int32_t stream,
    int64_t offset, void *data, size_t size, int64_t *at)
{
    const ex_run *run = runner->runs;
    uint64_t first = 0;

    *at = offset;
    while (run && run->token != token)
        run = run->next;
    if (!run || offset < 0 || (stream != 1 && stream != 2))
        return 0;
    const ex_watch *watch = stream == 1 ? &run->out : &run->err;
    if (!watch->capture) /* it has not begun */
        return 0;
    size_t length =
        ex_capture_read(watch->capture, (uint64_t)offset, data, size, &first);
    *at = (int64_t)first;
    return length;
}
