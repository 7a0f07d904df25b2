"""A command uses one thread, unless the user chose a number."""

import pytest
import torch

from mechcausal.cli.threads import use_one_thread


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_by_default(threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    use_one_thread()
    assert torch.get_num_threads() == 1


def test_the_choice_of_the_user_stays(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    use_one_thread()
    assert torch.get_num_threads() == 2
