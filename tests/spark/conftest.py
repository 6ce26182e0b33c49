"""The tests of Spark stages share one session and one chain with the tests of faults: see `tests/chain.py`."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("tests.chain")
