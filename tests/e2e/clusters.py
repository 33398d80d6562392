# SPDX-License-Identifier: MIT
"""Fixtures: a lab on a PostgreSQL of its own, to be stopped at will."""

import os

import pytest

import harness


@pytest.fixture
def cluster(tmp_path):
    if "EXECUTR_TEST_PG_BIN" not in os.environ:
        pytest.skip("EXECUTR_TEST_PG_BIN is not set: run this under "
                    "scripts/with-postgres to stop and start a PostgreSQL")
    made = harness.Cluster(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def lab(cluster, tmp_path):
    from conftest import Lab
    cluster.start()
    made = Lab(tmp_path, harness.Postgres(cluster.url))
    yield made
    made.store.drop = lambda: None
    made.end()
