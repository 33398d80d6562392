# SPDX-License-Identifier: MIT
"""PgBouncer in transaction mode, between the servers and PostgreSQL."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse

import pytest

import harness

BINARY = shutil.which(
    "pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

# A few connections for all, so that each is handed from client to client.
POOL = 4
CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 500
logfile = {log}
pidfile =
"""


class Bouncer:
    """One of our own, to be killed and started again; it runs as nobody
    special, as it insists on."""

    def __init__(self, server_url):
        if not BINARY:
            pytest.skip("there is no pgbouncer: run scripts/setup")
        self.server = urllib.parse.urlsplit(server_url)
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="executr-pgb."))
        self.port = harness.free_port()
        self.log, self.process, self.owner = self.place / "log", None, []
        if os.getuid() == 0:
            shutil.chown(self.place, "postgres", "postgres")
            self.owner = ["setpriv", "--reuid=postgres", "--regid=postgres",
                          "--init-groups"]
        self.config = self.place / "pgbouncer.ini"
        self.config.write_text(CONFIG.format(
            host=self.server.hostname, port=self.server.port or 5432,
            user=self.server.username or "postgres", listen=self.port,
            pool=POOL, log=self.log))
        self.config.chmod(0o644)

    def start(self):
        self.process = subprocess.Popen(
            [*self.owner, "setpriv", "--pdeathsig=KILL", BINARY,
             str(self.config)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            env=harness.environment("/"), start_new_session=True)
        harness.until(self.listens, "pgbouncer listens")
        return self

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(harness.PATIENCE)

    def remove(self):
        self.kill()
        shutil.rmtree(self.place)


class Pooled(harness.Postgres):
    """A database whose servers reach it through the pooler; `query` doesn't."""

    def __init__(self, bouncer):
        super().__init__()
        self.direct_url = self.url
        user = urllib.parse.urlsplit(self.url).username or "postgres"
        self.url = f"postgres://{user}@127.0.0.1:{bouncer.port}/{self.name}"

    def query(self, sql):
        return harness.psql(self.direct_url, sql)
