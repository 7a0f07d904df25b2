"""Run every notebook as a reader would, and leave each as a page in out/notebooks; the notebooks themselves stay stripped.

A notebook whose first cell asks for `make real` is left out where the real model is not installed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from mechcausal.models.wheels import WHEELS

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "out" / "notebooks"


def main(names: list[str]) -> int:
    """Run the notebooks of these names, or all of them."""
    PAGES.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        if "make real" in notebook.cells[0].source and WHEELS["smollm2"].file() is None:
            print(f"{path.name}: left out, because it needs `make real`", flush=True)
            continue
        started = time.perf_counter()
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
        except Exception as error:  # whatever a cell raises is told, and the next notebook is run
            print(f"{path.name}: {str(error)[-2000:]}", file=sys.stderr, flush=True)
            failed += 1
            continue
        (PAGES / f"{path.stem}.html").write_text(HTMLExporter().from_notebook_node(notebook)[0])
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
