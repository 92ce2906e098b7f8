"""The example notebook: every cell runs, in a kernel of its own, on a house with a champion."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from credit_assets_tests.support.houses import copied_home

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "champion.ipynb"


def test_the_notebook_is_stored_without_what_it_printed() -> None:
    """Rows of applicants among it, of whoever ran it last."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if "outputs" in cell)


@pytest.mark.slow
def test_every_cell_runs(trial_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = copied_home(trial_home, tmp_path / "home")
    monkeypatch.setenv("CREDIT_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # The kernel is this interpreter, whatever kernels the machine has by that name.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    tables = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    # Figures, versions twice, scores, tenths, comparison, decision.
    assert len(tables) == 7
    assert '<th scope="row">auc</th>' in tables[0]
    assert "champion</td>" in tables[1]
    assert "loan_scores 1999-12-31 is not made" in shown[-1]["text"]
