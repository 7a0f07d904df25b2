"""Run the command line in this process, as a shell would: words in, exit code and both streams out."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from mechcausal.cli import main


@dataclass(frozen=True)
class Done:
    code: int
    output: str
    error: str

    @property
    def document(self) -> Any:
        return json.loads(self.output)


def run(*words: object) -> Done:
    """Return how a command ended; anything but an exit is a traceback, and raised."""
    output, error = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(error), pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return Done(left.value.code, output.getvalue(), error.getvalue())


def refused(*words: object, code: int = 4) -> str:
    """Return the sentence with which a command was refused: one line, no traceback, nothing on standard output."""
    done = run(*words)
    assert done.code == code, (done.code, done.output, done.error)
    assert done.output == ""
    assert done.error.startswith("mechcausal: ")
    assert done.error.count("\n") == 1
    assert len(done.error) < 500
    assert "Traceback" not in done.error
    return done.error.removeprefix("mechcausal: ").rstrip("\n")
