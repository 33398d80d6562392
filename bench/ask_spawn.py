# SPDX-License-Identifier: MIT
"""The runner against bare loops that spawn the same program."""

import processes

RUNS = 9
LEVELS = ("basic", "standard", "strict")


def ask(figures):
    for parent, place in (processes.TMPFS, "tmpfs"), (processes.DISK, "disk"):
        with processes.directory(parent) as directory:
            figures.note(f"{place}: {parent} "
                         f"({processes.filesystem(directory)})")
            for program in processes.TINY, "/bin/true":
                measure(figures, program, directory, place)


def measure(figures, program, directory, place):
    name = "tiny" if program == processes.TINY else "true"
    prefix = f"{name}.{place}."
    for sample in processes.generate(
            "spawn", program=program, directory=directory,
            rounds=figures.runs):
        loop = prefix + sample["sample"]
        figures.add(loop + ".jobs_per_s", "jobs/s", sample["jobs_per_s"])
        figures.add(loop + ".own_cpu", "us/job", sample["own_cpu_us"])
    for level in LEVELS:
        for limit in "bare", "vfork", "session":
            figures.ratio(f"{prefix}{level}.to_{limit}",
                          f"{prefix}{level}.jobs_per_s",
                          f"{prefix}{limit}.jobs_per_s")
    figures.goal(f"{prefix}basic.to_bare", least=0.8)
