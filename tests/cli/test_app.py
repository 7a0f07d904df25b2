"""Every verb: it explains itself, and what it cannot do is one sentence with an exit code of its own."""

import subprocess
import sys

import pytest
from commands import refused, run
from typer.main import get_command

import mechcausal as mc
from mechcausal.cli import app

METHODS = {"patch", "ablate", "attribute", "path", "scrub", "probe", "erase"}
VERBS = {
    "audit",
    "demo",
    "organisms",
    "sites",
    "link",
    "generate",
    "lens",
    "steer",
    "selftest",
    "doctor",
    "discover",
    "circuit",
    "bench",
    "sae",
    "run",
    "status",
    "view",
    "collect",
    "diff",
    "runs",
    *METHODS,
}
GROUPS = {
    "sae": ("train", "health", "card"),
    "circuit": ("certify", "compare", "convert", "evaluate", "rediscover", "show"),
    "audit": ("init", "check", "run", "report", "compare", "selftest"),
    "bench": ("circuits",),
    "runs": ("ls",),
}
COMMANDS = [*sorted(VERBS - GROUPS.keys()), *(f"{group} {word}" for group, words in GROUPS.items() for word in words)]
REFUSED = {
    "pach": (2, "No such command 'pach': did you mean 'patch', 'path'?"),
    "patch organism:hiring": (4, "name the data: give --contrast NAME or --pairs FILE"),
    "patch organism:hiring --contrast hiring/gender --pairs p.csv": (4, "once (got --contrast and --pairs)"),
    "patch organism:hiring --pairs gone.csv": (4, "there is no file gone.csv"),
    "patch organism:hiring --pairs made": (4, "is no table that can be read"),
    "ablate organism:hiring --contrast hiring/gender --do burn": (4, "burn"),
    "attribute organism:hiring --contrast hiring/gender --path up": (4, "'joint' or 'cell'"),
    "path organism:hiring --contrast hiring/gender --receivers L2.resid_post": (4, "cannot be a receiver"),
    "scrub organism:hiring --contrast hiring/gender": (2, "Missing option '--hypothesis'"),
    "scrub organism:hiring --contrast hiring/gender --hypothesis gone.toml": (4, "there is no file gone.toml"),
    "scrub organism:hiring --contrast hiring/gender --hypothesis made": (4, "is not TOML"),
    "probe organism:hiring --task hiring": (4, "name what is to be read"),
    "probe organism:hiring --task hiring --concept gendr": (4, "did you mean 'gender'?"),
    "erase organism:hiring --task hiring --concept gender --method burn": (4, "'leace' or 'means' or 'features'"),
    "patch organism:hiring --contrast hiring/gender --pears 3": (2, "No such option: --pears"),
    "patch organism:hiring --contrast hiring/gender -n 1": (2, "'--n'"),
    "patch organism:hiring --contrast hiring/gender -n two": (2, "'--n'"),
    "patch organism:hiring --contrast hiring/gender --seed -1": (2, "'--seed'"),
    "patch organism:hiring --contrast hiring/gendre": (4, "did you mean 'gender'?"),
    "patch organism:hiring --contrast hiring/gender --sites L9.z": (4, "L9"),
    "patch organism:hiring --contrast hiring/gender --at @nowhere": (4, "nowhere"),
    "patch organism:hiring --contrast hiring/gender --direction up": (4, "'denoise' or 'noise'"),
    "patch organism:hiring --contrast hiring/gender -o patch.csv": (4, ".parquet"),
    "sites organism:hirring": (4, "there is no organism called 'hirring': did you mean 'hiring'?"),
    "sites no/such/folder": (4, "no/such/folder"),
    "link organism:hiring --suite hiring": (4, "name what is linked: give --dictionary FOLDER, or --sites z"),
    "link organism:hiring --suite hirring --sites z": (4, "hirring"),
    "link organism:hiring --suite hiring --pairs p.csv --sites z": (4, "name the data once"),
    "link organism:hiring --sites z": (4, "name the data"),
    "link organism:hiring --suite hiring --sites z -o x.json": (4, "-o cannot be x.json (expected a name that ends in .html"),
    "link organism:hiring --suite hiring --dictionary ./gone": (4, "gone"),
    "selftest probes": (4, "there is no self-test called 'probes' (expected causal)"),
    "selftest causal --organism hirring": (4, "did you mean 'hiring'?"),
    "sae train organism:hiring --site L2.resid_post --width 0 -o out": (2, "'--width'"),
    "sae train organism:hiring --width 8 -o out": (2, "Missing option '--site'"),
    "sae train organism:hiring --site L2.resid_post --width 8 -o out --text gone.txt": (4, "gone.txt"),
    "sae health gone": (4, "gone"),
    "sae helth": (2, "did you mean 'health'?"),
    "bench circuits --methods eapig": (4, "did you mean 'eap-ig'?"),
    "bench circuits --organisms hirring": (4, "did you mean 'hiring'?"),
    "bench circuits --organisms hiring_natural": (4, "the circuit of organism:hiring_natural is not known"),
    "bench circuits --model smollm2 --quick": (4, "--quick is about organisms"),
    "bench circuits -o bench.csv": (4, "ends in .json"),
    "status gone": (4, "gone is not the folder of a run"),
    "diff gone gone --tolerance -1": (2, "'--tolerance'"),
    "demo -n 3": (2, "'--n'"),
    "demo -o made/file": (4, "nothing can be written to made/file"),
}  # fmt: skip


def test_there_are_no_other_verbs():
    root = get_command(app)
    assert set(root.commands) == VERBS
    for group, words in GROUPS.items():
        assert set(root.commands[group].commands) == set(words)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_verb_explains_itself(words):
    done = run(*words.split(), "--help")
    assert done.code == 0
    assert done.output.startswith(f"Usage: mechcausal {words}")
    assert "--json" in done.output
    assert done.error == ""


def test_the_summaries_of_the_verbs_are_whole_sentences():
    text = run("--help").output
    lines = [line for line in text.splitlines() if line.split()[:1] and line.split()[0] in VERBS]
    assert len(lines) == len(VERBS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_an_option_has_one_name_everywhere():
    """A short letter means the same option in every verb, and an option the same letter."""
    root = get_command(app)
    pairs = set()
    for command in [*root.commands.values(), *(c for group in GROUPS for c in root.commands[group].commands.values())]:
        for parameter in command.params:
            long = [name for name in parameter.opts if name.startswith("--")]
            short = [name for name in parameter.opts if name.startswith("-") and not name.startswith("--")]
            pairs |= {(letter, name) for letter in short for name in long}
    assert pairs == {("-o", "--out"), ("-n", "--n"), ("-e", "--edit"), ("-p", "--prompt")}


@pytest.mark.parametrize("words", REFUSED)
def test_a_mistake_is_one_sentence(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").write_text("a file where a folder should be")
    code, part = REFUSED[words]
    assert part in refused(*words.split(), code=code)


def test_nothing_but_words_says_what_there_is():
    done = run()
    assert done.code == 2
    assert "Commands:" in done.output + done.error


def test_the_version():
    assert run("--version").output == f"mechcausal {mc.__version__}\n"


def test_a_bug_is_not_hidden(monkeypatch):
    def broken():
        raise KeyError("a bug")

    monkeypatch.setattr("mechcausal.organisms.organisms", broken)
    with pytest.raises(KeyError):
        run("organisms")


def test_an_unreadable_file_is_one_sentence(monkeypatch):
    def unreadable():
        raise PermissionError(13, "Permission denied", "/there")

    monkeypatch.setattr("mechcausal.organisms.organisms", unreadable)
    assert refused("organisms") == "/there: Permission denied"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom mechcausal.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'transformers', 'transformer_lens', 'pandas', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
