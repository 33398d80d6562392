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


def markdown(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(
        cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows)


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

    def verdicts(self):
        """A line for each goal: what was wanted, what it is."""
        for name, (least, most) in self.goals.items():
            median = self.median(name)
            met = median >= least if most is None else median <= most
            wanted = f">= {number(least)}" if most is None \
                else f"<= {number(most)}"
            yield f"{'met   ' if met else 'MISSED'}  {name} {wanted}: " \
                f"{number(median)}"

    def cell(self, name):
        """The median and half the spread, in percent of it."""
        if name not in self.samples:
            return ""
        samples = self.samples[name]
        median = self.median(name)
        half = (max(samples) - min(samples)) / 2
        percent = f" ±{half / median * 100:.0f}%" if median else ""
        return number(median) + percent

    def tables(self):
        """The last part of a name is a column, what stands before is a row;
        rows with the same columns make a table."""
        columns = {}
        for name in self.samples:
            row, _, column = name.rpartition(".")
            columns.setdefault(row, []).append(column)
        tables = {}
        for row, its in columns.items():
            tables.setdefault(tuple(its), []).append(row)
        return tables

    def table(self):
        """Markdown, with its columns in line for a terminal."""
        parts = [markdown(
            [["", *(f"{c} [{self.units[rows[0] + '.' + c]}]"
                    for c in columns)]]
            + [[row, *(self.cell(f"{row}.{c}") for c in columns)]
               for row in rows])
            for columns, rows in self.tables().items()]
        goals = list(self.verdicts())
        if goals:
            parts.append("\n".join(["Goals:", ""] + ["    " + g
                                                     for g in goals]))
        if self.notes:
            parts.append("\n".join(self.notes))
        return "\n\n".join(parts)

    def heading(self):
        return "{commit}, {time}; {cpus}, {memory_mb} MB, Linux {kernel}, " \
            "load {load_before} before, {runs} runs".format(
                runs=self.runs, **self.about)

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
