# SPDX-License-Identifier: MIT
"""Samples of named figures: their medians and spread, as a table or JSON."""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"


def command_output(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def circumstances():
    changed = command_output("git", "status", "--porcelain", "-uno")
    with open("/proc/meminfo") as memory:
        megabytes = int(memory.readline().split()[1]) // 1024
    return {
        "commit": command_output("git", "rev-parse", "--short=10", "HEAD")
        + ("+changes" if changed else ""),
        "time": datetime.datetime.now(datetime.timezone.utc).strftime(
            "%Y-%m-%d %H:%M UTC"),
        "cpus": f"{os.cpu_count()} x {cpu_name()}",
        "memory_mb": megabytes,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def number(value):
    """Three digits or a whole number: no more than the spread allows."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


class Figures:
    """What one question was answered with: name -> samples, in one order."""

    def __init__(self, question, runs):
        self.question = question
        self.runs = runs
        self.about = circumstances()
        self.samples = {}
        self.units = {}
        self.goals = {}
        self.notes = []

    def add(self, name, unit, value):
        self.samples.setdefault(name, []).append(value)
        self.units[name] = unit

    def ratio(self, name, part, whole):
        """The ratio of two figures, sample by sample: each pair was measured
        right after one another, so that a slow moment hits both."""
        for a, b in zip(self.samples.get(part, []),
                        self.samples.get(whole, [])):
            if b:
                self.add(name, "ratio", a / b)

    def goal(self, name, least=None, most=None):
        if name in self.samples:
            self.goals[name] = (least, most)

    def note(self, text):
        self.notes.append(text)

    def median(self, name):
        return statistics.median(self.samples[name])

    def verdict(self, name):
        least, most = self.goals.get(name, (None, None))
        if least is not None:
            met = self.median(name) >= least
            return f">= {number(least)} {'met' if met else 'MISSED'}"
        if most is not None:
            met = self.median(name) <= most
            return f"<= {number(most)} {'met' if met else 'MISSED'}"
        return ""

    def rows(self):
        for name, samples in self.samples.items():
            yield (name, number(self.median(name)), self.units[name],
                   f"{number(min(samples))} to {number(max(samples))}",
                   str(len(samples)), self.verdict(name))

    def table(self):
        """Markdown, with its columns in line for a terminal."""
        rows = [("figure", "median", "unit", "spread", "runs", "goal")]
        rows += self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = ["| " + " | ".join(
            cell.ljust(width) for cell, width in zip(row, widths)) + " |"
            for row in rows]
        return "\n".join(lines + [""] + self.notes)

    def heading(self):
        return "{commit}, {time}; {cpus}, {memory_mb} MB, Linux {kernel}, " \
            "load {load_before} before".format(**self.about)

    def json(self):
        figures = {
            name: {"median": self.median(name), "unit": self.units[name],
                   "min": min(samples), "max": max(samples),
                   "runs": len(samples), "samples": samples}
            for name, samples in self.samples.items()}
        return json.dumps({"question": self.question, **self.about,
                           "figures": figures, "notes": self.notes})

    def record(self):
        """Put the section of this question into RESULTS.md anew."""
        text = RESULTS.read_text() if RESULTS.exists() else HEAD
        parts = text.split("\n## ")
        section = f"{self.question}\n\n{self.heading()}\n\n{self.table()}\n"
        kept = [p for p in parts[1:] if p.split("\n")[0] != self.question]
        parts = parts[:1] + sorted(kept + [section])
        RESULTS.write_text(
            "\n## ".join(p.rstrip("\n") + "\n" for p in parts))


HEAD = """# Results

Written by `./dev bench NAME --record`; README.md says what the figures mean.
"""
