"""One thread, no network, and the fixtures that many tests share."""

from __future__ import annotations

import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from shapes import check_shapes

check_shapes()  # before anything imports the package

import socket
from contextlib import contextmanager

import pytest
import torch
from zoo import ARCHITECTURES, EXPERTS, loaded, make_pairs

import mechcausal as mc
from mechcausal.models.attached import _attached, detach

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let a test fail as soon as it reaches out."""

    def refuse(self, address):
        raise AssertionError(f"a test tried to reach {address}")

    original = socket.socket.connect
    monkeypatch.setattr(
        socket.socket,
        "connect",
        lambda self, to: original(self, to) if self.family == socket.AF_UNIX else refuse(self, to),
    )


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def own_cache(request, kept, monkeypatch):
    """Keep nothing in the user's cache, but for the real model, whose conversion takes long."""
    if request.node.get_closest_marker("real") is None:
        monkeypatch.setenv("MECHCAUSAL_CACHE", str(kept))


@contextmanager
def detached():
    """Take dictionaries that are attached meanwhile to shared models off them again."""
    before = {model: set(names) for model, names in _attached.items()}
    yield
    for model, names in list(_attached.items()):
        for name in set(names) - before.get(model, set()):
            detach(model, name)


@pytest.fixture(autouse=True)
def no_dictionary_of_a_test_stays():
    with detached():
        yield


@pytest.fixture(autouse=True, scope="module")
def no_dictionary_of_a_module_stays():
    with detached():
        yield


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def gpt2():
    return loaded("gpt2")


@pytest.fixture
def llama():
    return loaded("llama")


@pytest.fixture(scope="session")
def by_hand():
    return mc.load("organism:by_hand")


@pytest.fixture(scope="session")
def hiring():
    return mc.load("organism:hiring")


@pytest.fixture
def pairs():
    return make_pairs()


# What is tried on every architecture is tried on these with the slow tests. The others (gpt2, llama, gemma2, bert) differ most.
LATER = {"neox", "opt", "qwen3", "mistral", *EXPERTS}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave half of the architectures to the slow tests, wherever every one is tried."""
    for item in items:
        if LATER & set(re.findall(r"[a-z0-9_]+", item.nodeid.partition("[")[2])):
            item.add_marker("slow")
