"""What the tests of the polar chain share: one Spark session, one tiny archive in a catalog with its labels, one network (`chain.py`)."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    for name in ("tests.chain", "tests.ice.chain", "tests.faults.fixtures"):
        config.pluginmanager.import_plugin(name)
