# SPDX-License-Identifier: MIT
"""Fixtures: stores, servers and executors, all of them gone afterwards."""

import pytest

import harness
from proxy import Proxy

BOTH = ["sqlite", "postgres"]


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than some seconds")
    if not (harness.BIN / "executr-server").exists():
        pytest.exit(f"no executr-server in {harness.BIN}: build first, or set "
                    "EXECUTR_BIN", 2)


def open_store(kind, place):
    if kind == "sqlite":
        return harness.Sqlite(place)
    if not harness.PG_URL:
        pytest.skip("EXECUTR_TEST_PG_URL is not set: run this under "
                    "scripts/with-postgres to test PostgreSQL as well")
    return harness.Postgres()


class Lab:
    """Programs of one test, on one store, in one directory."""

    def __init__(self, place, store):
        self.place, self.store = place, store
        self.programs, self.proxies = [], []

    def _keep(self, program):
        self.programs.append(program)
        return program

    def server(self, *flags, **more):
        return self._keep(
            harness.Server(self.place, self.store.url, *flags, **more))

    def restart(self, server, **more):
        return self._keep(server.restart(**more))

    def executor(self, server, *flags, **more):
        url = server if isinstance(server, str) else server.url
        return self._keep(
            harness.Executor(self.place, url, *flags, **more))

    def program(self, name, *arguments, **more):
        return self._keep(
            harness.Program(self.place, name, *arguments, **more))

    def proxy(self, server):
        """A network in front of this server and those that replace it."""
        self.proxies.append(Proxy(server.port))
        return self.proxies[-1]

    def cli(self, server=None):
        return harness.Cli(self.place, server and server.url)

    def script(self, text):
        return harness.script(self.place, text)

    def end(self):
        """Executors first, while there is a server to take their leave."""
        for program in reversed(self.programs):
            program.kill()
        for proxy in self.proxies:
            proxy.close()
        self.store.drop()


@pytest.fixture(params=BOTH)
def lab(request, tmp_path):
    """An own store for one test."""
    made = Lab(tmp_path, open_store(request.param, tmp_path))
    yield made
    made.end()


@pytest.fixture
def sqlite_lab(tmp_path):
    """For what does not depend on the store."""
    made = Lab(tmp_path, open_store("sqlite", tmp_path))
    yield made
    made.end()


@pytest.fixture
def postgres_lab(tmp_path):
    made = Lab(tmp_path, open_store("postgres", tmp_path))
    yield made
    made.end()


@pytest.fixture(scope="module", params=BOTH)
def shared(request, tmp_path_factory):
    """A lab with a server for all tests of a file."""
    place = tmp_path_factory.mktemp("shared")
    made = Lab(place, open_store(request.param, place))
    made.main = made.server("--heartbeat-timeout", "2s")
    yield made
    made.end()


@pytest.fixture
def api(shared):
    """The shared server, with nothing left to claim from other tests."""
    server = shared.main
    assert server.running, server.text
    for status in ("pending", "running"):
        server.api.post("/jobs/bulk/cancel", {"status": status})
    return server.api
