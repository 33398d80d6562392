# SPDX-License-Identifier: MIT
"""The SQL of the performance guide, one statement a call, as a baseline."""

import ask_limit
import processes

RUNS = 5

# Pending jobs that wait all the while, and how many are then counted: the
# guide's claim sorts all that wait, so it gets slow.
BACKLOGS = {"empty": (0, 2000), "10k": (10000, 300)}


def ask(figures):
    with processes.postgres() as database:
        for _ in range(figures.runs):
            for name, (backlog, jobs) in BACKLOGS.items():
                for layout in "guide", "indexed", "ours":
                    ask_limit.take(
                        figures, f"{name}.{layout}.1", ask_limit.postgres_life(
                            database.url, layout, 1, jobs, backlog))
                ask_limit.take(
                    figures, f"{name}.ours.100", ask_limit.postgres_life(
                        database.url, "ours", 100, None, backlog))
    for name in BACKLOGS:
        for group in 1, 100:
            for layout in "guide", "indexed":
                figures.ratio(f"{name}.ours.{group}.to_{layout}",
                              f"{name}.ours.{group}.jobs_per_s",
                              f"{name}.{layout}.1.jobs_per_s")
