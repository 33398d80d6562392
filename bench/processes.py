# SPDX-License-Identifier: MIT
"""Programs under measurement: where they are, their start, CPU and end."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "release" / "bin"
TINY = BIN / "bench_tiny"

# Both are wanted: the one shows the program, the other what a disk adds.
TMPFS = pathlib.Path("/dev/shm")
DISK = pathlib.Path("/var/tmp")


class Skipped(Exception):
    """A question that can't be asked here; says why."""


@contextlib.contextmanager
def directory(parent):
    path = pathlib.Path(tempfile.mkdtemp(prefix="executr-bench.", dir=parent))
    path.chmod(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def filesystem(path):
    return subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True,
        check=True).stdout.strip()


def generate(name, **options):
    """Run a load generator to its end; gives its samples as they come."""
    command = [BIN / f"bench_{name}"]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), str(value)]
    with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        sys.exit(f"bench: bench_{name} failed")


@contextlib.contextmanager
def postgres():
    """A PostgreSQL of its own with Debian's settings; gives its URL."""
    command = [ROOT / "scripts" / "with-postgres", "sh", "-c",
               'echo "$EXECUTR_TEST_PG_URL"; exec cat']
    with subprocess.Popen(command, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        if not url:
            raise Skipped("PostgreSQL did not start")
        try:
            yield url
        finally:
            process.stdin.close()
            process.wait()
