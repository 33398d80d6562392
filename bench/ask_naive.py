# SPDX-License-Identifier: MIT
"""The SQL of the performance guide, one statement a call, as a baseline."""

import ask_limit
import processes

RUNS = 5

# Pending jobs that wait all the while, and how many are then counted: the
# guide's claim sorts all that wait, so it gets slow.
BACKLOGS = {"empty": (0, 2000), "10k": (10000, 300)}


def ask(figures):
    with processes.postgres() as url:
        for _ in range(figures.runs):
            for name, (backlog, jobs) in BACKLOGS.items():
                for layout in "guide", "indexed", "ours":
                    ask_limit.postgres_life(
                        figures, url, f"{layout}.1.{name}", layout, 1,
                        jobs=jobs, backlog=backlog)
                ask_limit.postgres_life(
                    figures, url, f"ours.100.{name}", "ours", 100,
                    backlog=backlog)
    for name in BACKLOGS:
        for group in 1, 100:
            for layout in "guide", "indexed":
                figures.ratio(f"ours.{group}.{name}.to_{layout}",
                              f"ours.{group}.{name}.jobs_per_s",
                              f"{layout}.1.{name}.jobs_per_s")
