# SPDX-License-Identifier: MIT
"""Work for chaos tests: jobs that leave a trace of each run, and threads that
submit them and remember what was answered."""

import collections
import http.client
import itertools
import random
import threading
import time

import harness


class Load:
    """
    Submits jobs from threads, one by one, in bulk, and with idempotency keys
    that are repeated until they are answered. Each job appends its token to a
    file, so that runs can be counted whatever the store says.
    """

    def __init__(self, lab, url, pause="0"):
        self.lab, self.api = lab, harness.Api(url)
        self.trace = lab.place / f"trace-{time.monotonic_ns()}"
        self.trace.touch()
        self.script = lab.script(
            f'echo "$1" >> {self.trace}; sleep {pause}; echo "$1"')
        self.sha256 = None
        self.accepted = {}  # token -> job id
        self.keyed = {}     # token -> all ids that its key was answered with
        self.refused = collections.Counter()
        self.odd = []
        self.tokens = itertools.count()
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.threads = []

    def start(self, threads=3, rate=0.02):
        self.sha256 = self.api.upload(self.script)
        self.rate = rate
        self.threads = [
            threading.Thread(target=self._run, args=(random.Random(i),))
            for i in range(threads)]
        for thread in self.threads:
            thread.start()
        return self

    def _run(self, chance):
        kinds = [self._one, self._bulk, self._keyed]
        while not self.ending.is_set():
            try:
                chance.choice(kinds)(chance)
            except Exception as error:
                self.odd.append(repr(error))
            time.sleep(chance.random() * self.rate)

    def _spec(self):
        token = f"t{next(self.tokens)}"
        return token, {
            "type": token[:2], "binary_sha256": self.sha256,
            "arguments": [token], "env_variables": {"PATH": "/usr/bin:/bin"}}

    def _call(self, path, body, **more):
        """The answer, or None when there was none or it was 503."""
        try:
            answer = self.api.post(path, body, **more)
        except (OSError, http.client.HTTPException) as error:
            self.refused[type(error).__name__] += 1
            return None
        if answer.status == 503:
            self.refused[503] += 1
            if "Retry-After" not in answer.headers:
                self.odd.append("503 without Retry-After")
            return None
        if answer.status != 201:
            self.odd.append(repr(answer))
            return None
        return answer

    def _one(self, _chance):
        token, spec = self._spec()
        answer = self._call("/jobs", spec)
        if answer:
            self.accepted[token] = answer.json["id"]

    def _bulk(self, chance):
        pairs = [self._spec() for _ in range(chance.randrange(1, 9))]
        answer = self._call("/jobs/bulk", [spec for _, spec in pairs])
        if answer:
            for (token, _), result in zip(pairs, answer.json["results"]):
                self.accepted[token] = result["id"]

    def _keyed(self, _chance):
        """Repeat until it is answered, and once more: always the same job."""
        token, spec = self._spec()
        key = {"Idempotency-Key": f"{self.trace.name}-{token}"}
        ids = []
        while len(ids) < 2 and not (self.ending.is_set() and not ids):
            answer = self._call("/jobs", spec, headers=key)
            if answer:
                ids.append(answer.json["id"])
            else:
                time.sleep(0.05)
            if self.ending.is_set() and ids:
                break
        if ids:
            self.accepted[token] = ids[0]
            self.keyed[token] = set(ids)

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)

    def runs(self):
        return collections.Counter(self.trace.read_text().split())

    def settled(self, patience=90):
        """Wait until no job is pending or running."""
        def idle():
            counts = self.api.stats()["jobs_by_status"]
            return counts["pending"] == counts["running"] == 0
        harness.until(idle, "all jobs were over", patience, 0.1)

    def check(self, store):
        """
        No accepted job was lost, each is recorded once, and nothing ran more
        often than it was claimed. The rest is for the invariants.
        """
        assert not self.odd, self.odd[:5]
        assert len(self.accepted) > 50, (len(self.accepted), self.refused)
        assert all(len(ids) == 1 for ids in self.keyed.values())
        assert len(set(self.accepted.values())) == len(self.accepted)
        rows = store.query(
            "SELECT id, status, attempt, arguments FROM jobs")
        by_id = {row[0]: row for row in rows}
        assert set(self.accepted.values()) <= set(by_id)
        runs = self.runs()
        for token, job_id in self.accepted.items():
            _, status, attempt, arguments = by_id[job_id]
            assert status == "completed", (token, by_id[job_id])
            assert token in arguments
            assert 1 <= runs[token] <= int(attempt), (token, runs[token])
        outputs = store.query("""
            SELECT count(*) FROM job_attempts
            WHERE status = 'completed'""")
        assert int(outputs[0][0]) == len(rows), "one result a job"
        return runs

    def repeated(self, store, runs):
        """What the store knows of jobs that ran more than once."""
        ids = [job_id for token, job_id in self.accepted.items()
               if runs[token] > 1]
        return ids and store.query(f"""
            SELECT job_id, attempt, executor_id, started_at, ended_at, status,
                outcome, error_message
            FROM job_attempts
            WHERE job_id IN ({", ".join(f"'{i}'" for i in ids)})
            ORDER BY job_id, attempt""")
