"""Take outputs and counts out of notebooks, so that git keeps what was written and not what was run.

Rewrites the notebooks it is given, and exits with 1 if any had to be changed, as pre-commit and `make lint` expect.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def strip(text: str) -> str:
    """Return a notebook without outputs, execution counts and the metadata of the machine it ran on."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    kernel = notebook["metadata"].get("kernelspec")
    notebook["metadata"] = {} if kernel is None else {"kernelspec": kernel}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(paths: list[str]) -> int:
    """Strip these notebooks and return 1 if any had to be changed."""
    changed = []
    for path in map(Path, paths):
        text = path.read_text(encoding="utf-8")
        stripped = strip(text)
        if json.loads(stripped) != json.loads(text):
            path.write_text(stripped, encoding="utf-8")
            changed.append(path)
            print(f"stripped {path}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
