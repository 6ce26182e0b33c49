"""The notebooks run on the demo, cell by cell."""

import json
import os

import matplotlib as mpl
import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("notebook", sorted(file.name for file in (ROOT / "notebooks").glob("*.ipynb")))
def test_that_every_cell_of_a_notebook_runs(notebook, demo, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(demo.parents[1])
    names = {"__name__": "__main__"}
    cells = json.loads((ROOT / "notebooks" / notebook).read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for cell in code:
        exec(compile(cell, notebook, "exec"), names)
    assert code
    assert names["reflectance"].shape[0] == len(names["train"]) > 0
    assert os.path.samefile(os.getcwd(), ROOT)
