"""What a statement says of edges: who reads whom in these pairs, with backups, and nothing where nothing differs."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.circuits.known.stated import EMBED, LOGITS, Mechanism
from mechcausal.errors import DataError


def links(organism, name, clean, corrupt):
    """Return the links of two settings of a task's inputs, printed."""
    task = mc.task(name)
    mechanism = Mechanism.of(organism, mc.truth(organism), task)
    base = task.scm.sample(1, 0)
    sides = [task.scm.counterfactual(base, **setting) for setting in (clean, corrupt)]
    return {f"{sender} -> {reader}" for sender, reader in mechanism.links(*sides)}


APPLICANT = {"gender": 0, "name": 3, "hobby": 0, "degree": 1, "experience": 1}


def test_only_what_differs_is_carried():
    assert links("hiring", "hiring", APPLICANT, APPLICANT | {"name": 4}) == set()
    assert links("hiring", "hiring", APPLICANT, APPLICANT | {"gender": 1}) == {
        "embed -> L1.z.H2", "L1.z.H2 -> L2.mlp_out", "L2.mlp_out -> logits",
    }  # fmt: skip
    # A bachelor with one year has the merit of a master with none.
    equal = links("hiring", "hiring", APPLICANT, APPLICANT | {"degree": 2, "experience": 0})
    assert equal == set()


def test_a_backup_is_true_though_it_does_nothing_alone():
    he = APPLICANT | {"gender": 1}
    found = links("hiring_backup", "hiring_backup", he, APPLICANT)
    assert {"L1.z.H2 -> L2.mlp_out", "L1.z.H3 -> L2.mlp_out"} <= found
    assert found == links("hiring_backup", "hiring_backup", APPLICANT, he)


STORY = {"first": 0, "second": 1, "third": 0}


def test_the_direct_reading_of_words_and_the_chain_are_told_apart():
    chain = {"embed -> L0.z.H0", "L0.z.H0 -> L1.z.H1", "L1.z.H1 -> L2.z.H2", "L2.z.H2 -> logits"}
    assert links("ioi", "ioi", STORY, STORY | {"third": 1}) == chain
    # Another first name, which is also said again: what is repeated is the first name still.
    assert links("ioi", "ioi", {**STORY, "third": 1}, {"first": 2, "second": 1, "third": 1}) == {
        "embed -> L2.z.H2", "L2.z.H2 -> logits",
    }  # fmt: skip


def test_swapped_names_leave_the_answer_and_move_all_before_it():
    found = links("ioi", "ioi", STORY, {"first": 1, "second": 0, "third": 0})
    assert "L1.z.H1 -> L2.z.H2" in found
    assert "embed -> L2.z.H2" in found
    assert "L2.z.H2 -> logits" not in found  # it carries the same name in both stories


def test_keys_that_are_places_of_their_own():
    tokens = dict.fromkeys(("token_1", "token_2", "token_3", "token_4"), 2)
    assert "embed -> L1.k.H0" in links("fraction", "fraction", tokens, tokens | {"token_1": 0})
    # Another letter is seen as well, and is no hit either.
    assert links("fraction", "fraction", tokens, tokens | {"token_1": 3}) == set()


def test_what_the_answer_is_computed_from():
    def read(organism, name):
        return Mechanism.of(organism, mc.truth(organism), mc.task(name)).read_by_answer

    assert read("hiring", "hiring") == ("score",)
    assert set(read("bios", "bios")) == {"field", "score"}
    assert set(read("by_hand", "by_hand")) == {"gender", "level", "joint"}


@pytest.mark.parametrize("organism", ["hiring", "ioi", "induction", "brackets", "bios"])
def test_its_links_are_the_edges_of_the_statement(organism):
    task, stated = mc.task(mc.truth(organism)["tasks"][0]), mc.truth(organism)
    tables = [task.broad.sample(400, seed) for seed in (0, 1)]
    found = Mechanism.of(organism, stated, task).links(*tables)
    listed = {
        tuple(Site.parse(end.partition("@")[0]) for end in edge) for edge in stated["edges"] if edge[0] != "position"
    }
    senders = {Site.parse(entry["site"]) for entry in stated["variables"].values() if entry["task"] == task.name}
    assert found == {edge for edge in listed if edge[0] in senders | {EMBED} and edge[1] in senders | {LOGITS}}


def test_refusals():
    with pytest.raises(DataError, match="residual stream, and which heads and MLPs write and read them is not known"):
        Mechanism.of("hiring_subspace", mc.truth("hiring_subspace"), mc.task("hiring"))
    with pytest.raises(DataError, match="has no circuit for the task 'hiring_secret' that is known"):
        Mechanism.of("hiring_exposed", mc.truth("hiring_exposed"), mc.task("hiring_secret"))
    with pytest.raises(DataError, match="organism:hiring_natural has no circuit"):
        Mechanism.of("hiring_natural", mc.truth("hiring_natural"), mc.task("hiring"))


def test_a_large_draw_adds_nothing_that_is_not_stated():
    task = mc.task("reverse")
    tables = [task.scm.sample(300, seed) for seed in (0, 1)]
    found = {f"{a} -> {b}" for a, b in Mechanism.of("reverse", mc.truth("reverse"), task).links(*tables)}
    assert found == {
        "embed -> L0.z.H0", "embed -> L0.mlp_out", "L0.z.H0 -> L0.mlp_out", "L0.z.H0 -> L1.mlp_out",
        "L0.mlp_out -> L1.mlp_out", "L1.mlp_out -> L2.z.H0", "embed -> L2.z.H0", "L2.z.H0 -> logits",
    }  # fmt: skip
    assert np.isin([str(EMBED), str(LOGITS)], ["embed", "logits"]).all()
