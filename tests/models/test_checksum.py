"""Every change of content is found: a bit, places that were exchanged, any dtype, large tensors and small ones."""

import pytest
import torch

from mechcausal.models.checksum import checksum

SIZES = [(7,), (3, 5), (260, 300), (1021, 64), (129, 1023)]


def noise(shape, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_one_number_is_noticed_wherever_it_is(shape, dtype):
    tensor = noise(shape, dtype)
    before = checksum([tensor])
    assert checksum([tensor.clone()]) == before
    flat = tensor.reshape(-1)
    for index in {0, len(flat) // 2, len(flat) - 1}:
        old = flat[index].clone()
        flat[index] = -old
        assert checksum([tensor]) != before
        flat[index] = old
    assert checksum([tensor]) == before


@pytest.mark.parametrize("shape", [(64, 512), (260, 300), (512, 640)])
def test_rows_and_columns_that_change_places_are_noticed(shape):
    tensor = noise(shape, torch.float32)
    before = checksum([tensor])
    rows, columns = tensor.clone(), tensor.clone()
    rows[:8], rows[8:16] = tensor[8:16], tensor[:8]
    columns[:, :16], columns[:, 16:32] = tensor[:, 16:32], tensor[:, :16]
    assert len({before, checksum([rows]), checksum([columns])}) == 3


def test_small_and_large_together_keep_their_order():
    small, large = torch.ones(3), noise((300, 400), torch.float32)
    first, second, third = checksum([small, large, small])
    assert first == third != second
    assert checksum([large]) == (second,)
