"""The compiler: what is written down is what the transformer does, by arithmetic of our own."""

import itertools
import json

import numpy as np
import pytest
import torch
from plain import Plain

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.recipes.compiling import (
    Block,
    Head,
    Lookup,
    Program,
    Row,
    neurons,
    one_hot,
    subspace,
)
from mechcausal.recipes.statement import write_truth

WORDS = {"<pad>": {}, "<bos>": {"bos": 1}, "x": {"x": 1}, "y": {"y": 1}, "z": {}}
AT = one_hot("at", range(6))
PLACES = [{"one": 1, name: 1} for name in AT.values()]


def model(tmp_path, *blocks, answers=None):
    """Return the program, compiled, saved and read back by the plain transformer."""
    program = Program(WORDS, PLACES, blocks, answers or {})
    program.save(tmp_path)
    return program, Plain(tmp_path)


def read(program, plain, text, name):
    """Return what stands in a named dimension at every position in the end."""
    logits, seen = plain.run(plain.tokens([text])[0])
    stream = plain.w["embed.W_E"][plain.tokens([text])[0]] + plain.w["pos_embed.W_pos"][: logits.shape[1]]
    for layer in range(len(program.blocks)):
        stream = stream + np.einsum("bphd,hdm->bpm", seen[f"L{layer}.z"], plain.w[f"blocks.{layer}.attn.W_O"])
        stream = stream + seen[f"L{layer}.mlp_out"]
    return pytest.approx(stream[0, :, program.dimensions[name]].tolist(), abs=1e-15)


def test_a_head_looks_at_what_scores_highest_and_at_all_that_score_alike(tmp_path):
    latest = Head(look={("one", "x"): 2, ("one", "bos"): 1}, copy={AT[place]: f"x at {place}" for place in range(6)})
    mean = Head(look={("one", "x"): 1, ("one", "y"): 1}, copy={"x": "share of x"})
    program, plain = model(tmp_path, Block([latest, mean]))
    # One x: its place, from there on; before it the BOS token. Two of them share.
    assert read(program, plain, "y x z z", "x at 2") == [0, 0, 1, 1, 1]
    assert read(program, plain, "y x z z", "x at 0") == [1, 1, 0, 0, 0]
    assert read(program, plain, "x x z z", "x at 2") == [0, 0, 0.5, 0.5, 0.5]
    # The mean over x and y alone; with neither, over everything, in which there is no x.
    assert read(program, plain, "z x y x", "share of x") == [0, 0, 1, 1 / 2, 2 / 3]


def test_what_a_head_looks_for_depends_on_where_it_stands(tmp_path):
    before = {(AT[place], AT[place - 1]): 1 for place in range(1, 6)}
    program, plain = model(tmp_path, Block([Head(look=before, copy={"x": "was x", "y": "was y"})]))
    assert read(program, plain, "x z y x", "was x") == [0, 0, 1, 0, 0]
    assert read(program, plain, "x z y x", "was y") == [0, 0, 0, 0, 1]


def test_several_dimensions_can_be_written_to_one(tmp_path):
    head = Head(look={("one", AT[1]): 1}, copy={"x": "first", "y": "first"})
    program, plain = model(tmp_path, Block([head]))
    assert [read(program, plain, text, "first") for text in ("x z", "y z", "z z")] == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]


def out(made, **inputs):
    """Return what neurons write, added up."""
    total = {}
    for neuron in made:
        fired = max(0.0, neuron.bias + sum(weight * inputs.get(name, 0) for name, weight in neuron.reads.items()))
        for name, weight in neuron.writes.items():
            total[name] = total.get(name, 0.0) + weight * fired
    return total


@pytest.mark.parametrize("rounding", [0.0, 1e-4, -1e-4])
def test_a_lookup_is_its_table(rounding):
    values = (0, 0.25, 1 / 3, 0.5, 2 / 3, 1)
    draw = np.random.default_rng(0)
    rows = [
        Row(write={f"w{i}": float(draw.normal())}, on=on, equals=("n", value))
        for i, (on, value) in enumerate(itertools.product([(), ("a",), ("a", "b")], values))
    ]
    rows += [Row(write={"w0": 3.0}, on=("b", "c")), Row(write={"w1": -2.0}, on=("a",))]
    made = neurons(Lookup(rows, {"n": values}))
    for a, b, c, n in itertools.product((0, 1), (0, 1), (0, 1), values):
        switches = {"a": a, "b": b, "c": c}
        expected = {name: 0.0 for row in rows for name in row.write}
        for row in rows:
            if all(switches[name] for name in row.on) and (row.equals is None or row.equals[1] == n):
                for name, amount in row.write.items():
                    expected[name] += amount
        assert out(made, **switches, n=n + rounding) == pytest.approx(expected, abs=1e-12)


def test_a_number_with_one_value_needs_no_threshold():
    assert out(neurons(Lookup([Row({"w": 2.0}, equals=("n", 7))], {"n": [7]})), n=7) == {"w": 2.0}


def test_the_bridge_computes_what_the_plain_transformer_computes(tmp_path):
    head = Head(look={("one", "x"): 2, ("one", "bos"): 1}, copy={"x": "seen", "y": "odd"})
    program, plain = model(
        tmp_path,
        Block([head, Head(copy={"y": "share"})], Lookup([Row({"both": 1}, on=("seen", "x"))])),
        Block([Head(look={("both", "y"): 1}, copy={"share": "late"})], Lookup([Row({"end": 2}, on=("both", AT[3]))])),
        answers={"x": {"end": 3, "late": 1}, "y": {"share": 5}},
    )
    tokens = np.random.default_rng(0).integers(1, len(WORDS), (20, 6))
    tokens[:, 0] = 1
    found = mc.load(tmp_path)(torch.tensor(tokens)).detach().numpy()
    assert found == pytest.approx(plain.run(tokens)[0], abs=1e-5)
    assert {name: value.shape for name, value in program.weights().items()} == {
        name: value.shape for name, value in plain.w.items()
    }


def test_dimensions_are_numbered_as_they_are_first_written():
    program = Program(
        WORDS, [{"one": 1}], [Block([Head(copy={"x": "new"})], Lookup([Row({"more": 1}, on=("y",))]))], {}
    )
    assert list(program.dimensions) == ["bos", "x", "y", "one", "new", "more"]
    told = subspace(program, "L0.resid_post@end", "more", {"x": 1, "y": 1})
    assert told == {"site": "L0.resid_post", "at": "end", "basis": [[0, 0, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0]]}


def test_a_truth_keeps_its_numbers_on_one_line(tmp_path):
    told = {"basis": [[0, 1], [-1.5, 2]], "words": ["a", "1, 2"], "none": []}
    write_truth(told, tmp_path / "truth.json")
    text = (tmp_path / "truth.json").read_text()
    assert "[ 0, 1 ]" in text
    assert json.loads(text) == told


@pytest.mark.parametrize(
    ("block", "answers", "said"),
    [
        (Block([Head(look={("one", "z"): 1})]), {}, "layer 0 would read the dimension 'z', which nothing has written"),
        (Block([Head(look={("won", "x"): 1})]), {}, "'won'.*did you mean 'one'"),
        (Block([Head(copy={"y": "new", "new": "newer"})]), {}, "layer 0 would read the dimension 'new'"),
        (Block(mlp=Lookup([Row({"new": 1}, on=("xx",))])), {}, "'xx'.*did you mean 'x'"),
        (Block(), {"x": {"y": 1, "new": 1}}, "the answers would read the dimension 'new'"),
        (Block(), {"w": {"y": 1}}, "the answer 'w' is not in the vocabulary"),
        (Block(mlp=Lookup([Row({"new": 1}, equals=("x", 3))], {"x": [1, 2]})), {}, r"'x' never has the value 3.*1.*2"),
        (Block(mlp=Lookup([Row({"new": 1}, equals=("x", 3))])), {}, "'x' never has the value 3"),
    ],
)
def test_what_does_not_fit_is_refused(block, answers, said):
    with pytest.raises(ModelError, match=said):
        Program(WORDS, PLACES, [block], answers)
