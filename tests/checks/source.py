# SPDX-License-Identifier: MIT
"""Reads C sources for the checks beside it: which files, and code alone."""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

_LITERAL = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.DOTALL | re.VERBOSE,
)
_KIND = {'"': '""', "'": "' '"}


def files(root, *folders):
    """C sources and headers under the folders, as paths relative to root."""
    found = []
    for folder in folders:
        for path in (root / folder).rglob("*.[ch]"):
            found.append(path.relative_to(root))
    return sorted(found)


def code(text):
    """The text without comments and with empty literals, lines kept."""

    def blank(match):
        literal = match.group()
        return _KIND.get(literal[0], " ") + "\n" * literal.count("\n")

    return _LITERAL.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def report(problems, what):
    """Print the problems, if any, and give the exit code."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{what}: {len(problems)} violations", file=sys.stderr)
        return 1
    print(f"{what}: clean")
    return 0


def self_test(check, bad, good):
    """
    Run check(root) on a tree per entry: every bad one (path, text, words of
    the complaint) must be refused, every good one (path, text) accepted.
    """
    failures = []
    for path, text, words in bad:
        problems = _check_one(check, path, text)
        if not any(words in problem for problem in problems):
            failures.append(f"self-test: not refused: {path}: {text!r}")
    for path, text in good:
        for problem in _check_one(check, path, text):
            failures.append(f"self-test: refused by mistake: {problem}")
    return report(failures, f"self-test of {len(bad) + len(good)} cases")


def _check_one(check, path, text):
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for folder in ("include/executr", "lib", "apps", "tests"):
            (root / folder).mkdir(parents=True)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        return check(root)
