"""What the README tells its readers to type works: Python blocks run in order, and command lines are ones that exist."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from commands import run
from typer.main import get_command

import mechcausal as mc
from mechcausal.cli import app
from mechcausal.models.bridge import transformer_lens_version

ROOT = Path(mc.__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES = [line.split("#")[0].strip() for language, text in BLOCKS if not language for line in text.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("mechcausal ")]
# The blocks are run smaller than they are printed; a test that reads none of these is a test of something else.
SMALLER = {
    "n=200": "n=96",
    "(model, 500, ": "(model, 160, ",
    "steps=100": "steps=2",
    "width=256": "width=32, tokens=4096",
}


def smaller(text):
    for printed, run_instead in SMALLER.items():
        text = text.replace(printed, run_instead)
    return text


def test_every_reduction_is_of_something_printed():
    assert all(printed in "".join(PYTHON) for printed in SMALLER)


@pytest.mark.slow
@pytest.mark.skipif(not transformer_lens_version().startswith("3."), reason="sae-lens trains beside 3 only")
@pytest.mark.filterwarnings("ignore")
def test_the_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    for study in tmp_path.glob("experiments/*/experiment.toml"):
        study.write_text(study.read_text().replace("n = 128", "n = 32"))
    namespace = {}
    for number, text in enumerate(PYTHON):
        exec(compile(smaller(text), f"README.md, block {number}", "exec"), namespace)
    assert namespace["hypothesis"].scm.name == "hiring"
    assert namespace["run"].complete
    assert len(namespace["sweep"].frame) == len(mc.results.load(tmp_path / "heads.parquet").frame)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_can_be_read(line, monkeypatch):
    """Every option exists and every value is of its kind; what the command would do is not done."""
    root, called = get_command(app), []
    groups = [command for command in root.commands.values() if hasattr(command, "commands")]
    for command in [*root.commands.values(), *(each for group in groups for each in group.commands.values())]:
        if command.callback is not None:
            monkeypatch.setattr(command, "callback", lambda **given: called.append(given))
    root.main(shlex.split(line)[1:], prog_name="mechcausal", standalone_mode=False)
    assert len(called) >= 1


def test_the_cheap_commands_do_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cheap = [line for line in COMMANDS if line.split()[1] in ("patch", "sites", "organisms", "doctor")]
    assert len(cheap) == 6
    row = {"clean": "he high ask", "corrupt": "she high ask", "answer": "yes", "foil": "no"}
    rows = [row, row | {"clean": "he low ask", "corrupt": "she low ask"}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for line in cheap:
        done = run(*shlex.split(line)[1:])
        assert done.code == 0, done.error
        assert done.output
    assert (tmp_path / "heads.parquet").is_file()


def test_the_other_commands_and_links_exist():
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"(?:^|`)make ([\w-]+)", document, re.MULTILINE)) <= set(targets)
        for script in re.findall(r"`python ([\w/]+\.py)`", document):
            assert (ROOT / script).is_file(), script
        for path in re.findall(r"\]\(([^)#]+)\)", document):
            assert (ROOT / path).exists(), path
    assert not [line for line in LINES if line and line.split()[0] not in ("make", "mechcausal")]
