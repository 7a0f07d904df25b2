"""A checkpoint holds all that a training goes on from, and is refused by any other training."""

from pathlib import Path

import pytest
import torch
from adding import bridge, lesson, network
from limited import small_files
from safetensors import safe_open

from mechcausal.causal.training.checkpoint import Checkpoint
from mechcausal.causal.training.train import train
from mechcausal.errors import DataError, ResultError
from mechcausal.models.export import trainable

OPTIONS = {"steps": 4, "every": 2, "batch_size": 16, "progress": False}


@pytest.fixture
def begun(tmp_path):
    model = bridge(network())
    trained = train(model, lesson(model), checkpoint=tmp_path / "it.safetensors", **OPTIONS)
    return model, trained, tmp_path / "it.safetensors"


def test_it_holds_weights_moments_settings_and_history(begun):
    model, trained, path = begun
    parameters = trainable(model)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        assert names == {
            f"{what}/{name}" for name in parameters for what in ("weights", "step", "exp_avg", "exp_avg_sq")
        }
        for name, value in parameters.items():
            assert torch.equal(file.get_tensor(f"weights/{name}"), value)
            assert file.get_tensor(f"step/{name}") == 4
    again = bridge(network(1))
    optimizer = torch.optim.Adam(trainable(again).values())
    store = Checkpoint(path, {}, [], trainable(again), optimizer)
    store.settings = {}
    done, history = store.restore()
    assert done == 4
    assert [table["step"].iloc[0] for table in history] == [2, 4]
    assert sum(len(table) for table in history) == len(trained.history)
    for name, value in trainable(again).items():
        assert torch.equal(value, parameters[name])
        assert optimizer.state[value]["exp_avg"].shape == value.shape


def test_no_file_is_a_beginning(tmp_path):
    model = bridge(network())
    store = Checkpoint(tmp_path / "none", {}, [], trainable(model), torch.optim.Adam(trainable(model).values()))
    assert store.restore() == (0, [])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"seed": 1}, "seed"), ({"steps": 6}, "steps"), ({"strict": 0.5}, "strict"), ({"rate": 1e-4}, "rate")],
)
def test_another_training_is_refused(begun, changed, named):
    model, _, path = begun
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"checkpoint of another training: {named} differ"):
        train(model, lesson(model), checkpoint=path, **OPTIONS | changed)
    assert path.read_bytes() == before


def test_other_lessons_and_other_models_are_refused(begun):
    model, _, path = begun
    for own in (lesson(model, seed=1), lesson(model, total="L0.mlp_out@ask"), [lesson(model)] * 2):
        with pytest.raises(DataError, match="lessons differ"):
            train(model, own, checkpoint=path, **OPTIONS)
    wider = bridge(network(n_inner=48))
    with pytest.raises(DataError, match="parameters differ"):
        train(wider, lesson(wider), checkpoint=path, **OPTIONS)


def test_a_file_of_something_else_is_refused(tmp_path):
    model, path = bridge(network()), tmp_path / "notes.txt"
    path.write_text("nothing to load")
    with pytest.raises(DataError, match=r"notes\.txt is not a checkpoint of a training"):
        train(model, lesson(model), checkpoint=path, **OPTIONS)
    assert path.read_text() == "nothing to load"


def test_a_write_that_fails_leaves_the_file_as_it_was(begun, monkeypatch):
    """The checkpoint is put where there is room, and the error says where."""
    model, _, path = begun
    before = path.read_bytes()
    optimizer = torch.optim.Adam(trainable(model).values())
    store = Checkpoint(path, {}, [], trainable(model), optimizer)
    written = []

    def full(tensors, where, **_):
        written.append(where)
        Path(where).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ResultError, match="could not be written"):
        store.write(9, [])
    assert len(written) == 2
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_flipped_bit_is_found(begun):
    model, _, path = begun
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"not what was written|checksum|changed"):
        train(model, lesson(model), checkpoint=path, **OPTIONS)


@pytest.mark.parametrize("place", ["/proc/nothing/x", "file/x", "", "full"])
def test_a_place_that_cannot_be_written_is_found_before_the_first_step(place, tmp_path, monkeypatch):
    from mechcausal.causal.training import train as training

    monkeypatch.setattr(training, "_step", None)
    (tmp_path / "file").write_text("")
    model = bridge(network())
    words = "File too large" if place == "full" else "nothing can be written to"
    with small_files(4096 if place == "full" else 10**8), pytest.raises(ResultError, match=words):
        train(model, lesson(model), steps=2, checkpoint=tmp_path / place, progress=False)
