"""Each intervention against its formula."""

import pytest
import torch

from mechcausal.address import Site, vector
from mechcausal.errors import InterventionError
from mechcausal.interventions import Add, Edit, Erase, Patch, Project, Scale, Set, Zero
from mechcausal.interventions.apply import added, edited
from mechcausal.interventions.specs import AddDelta, Interpolate

X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
EVERYWHERE = torch.ones(2, 3, dtype=torch.bool)
STREAM = Site("resid_pre", 0)


def apply(do, site=STREAM, x=X, mask=EVERYWHERE, source=OTHER):
    return edited(x, Edit(site, do), mask, source if do.needs_source else None)


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (Zero(), torch.zeros_like(X)),
        (Patch(), OTHER),
        (Interpolate(0.25), 0.75 * X + 0.25 * OTHER),
        (AddDelta(), X + OTHER),
        (Set(2.0), torch.full_like(X, 2.0)),
        (Set((1.0, 2.0, 3.0, 4.0)), torch.tensor([1.0, 2, 3, 4]).expand_as(X)),
        (Add((1.0, 0.0, 0.0, 0.0), scale=3.0), X + torch.tensor([3.0, 0, 0, 0])),
        (Scale(-2.0), -2 * X),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_formulas(do, expected):
    torch.testing.assert_close(apply(do), expected)


def test_projection_removes_or_keeps_a_span():
    directions = torch.tensor([[1.0, 1, 0, 0], [0.0, 2, 0, 1]])
    spec = tuple(vector(row) for row in directions)
    out, kept = apply(Project(spec)), apply(Project(spec, keep=True))
    torch.testing.assert_close(out + kept, X)
    torch.testing.assert_close(out @ directions.T, torch.zeros(2, 3, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(apply(Project(spec), x=out), out, atol=1e-6, rtol=1e-6)


def test_dependent_directions_count_once():
    one, two = Project(((1.0, 1.0, 0.0, 0.0),)), Project(((1.0, 1.0, 0.0, 0.0), (2.0, 2.0, 0.0, 0.0), (0.0,) * 4))
    torch.testing.assert_close(apply(two), apply(one))
    with pytest.raises(InterventionError, match="span nothing"):
        apply(Project(((0.0,) * 4,)))


def test_projection_in_low_precision():
    found = apply(Project(((1.0, 0.0, 0.0, 0.0),)), x=X.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[..., 1:], X.bfloat16()[..., 1:])
    assert torch.equal(found[..., 0], torch.zeros(2, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("do", [Set((1.0, 2.0, 3.0)), Add((1.0, 2.0, 3.0)), Project(((1.0, 2.0, 3.0),))])
def test_a_vector_never_lands_on_the_positions_of_one_neuron(do):
    with pytest.raises(InterventionError, match="vector to a single neuron"):
        apply(do, site=Site("mlp_post", 0, neuron=1))


def test_affine_erasure():
    left, right, bias = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.5, 0.5, 0, 0]]), torch.tensor([1.0, 2, 3, 4])
    found = apply(Erase((vector(left[0]),), (vector(right[0]),), vector(bias)))
    torch.testing.assert_close(found, X - ((X - bias) @ right.T) @ left)


def test_mask_head_and_neuron_confine_the_edit():
    mask = torch.tensor([[True, False, False], [False, False, True]])
    found = apply(Zero(), mask=mask)
    assert torch.equal(found[mask], torch.zeros(2, 4))
    assert torch.equal(found[~mask], X[~mask])
    neuron = apply(Set(9.0), site=Site("mlp_post", 0, neuron=2), mask=mask)
    assert (neuron != X).nonzero().tolist() == [[0, 0, 2], [1, 2, 2]]
    heads = torch.randn(2, 3, 4, 5)
    found = edited(heads, Edit(Site("z", 0, head=1), Zero()), mask)
    assert (found != heads).any(-1).nonzero().tolist() == [[0, 0, 1], [1, 2, 1]]
    pattern = torch.rand(2, 4, 3, 3)
    for site in (Site("pattern", 0), Site("pattern", 0, head=1)):
        found = edited(pattern, Edit(site, Zero()), mask)
        changed = (found != pattern).any(-1).nonzero().tolist()
        expected = [[0, 0], [1, 2]]
        assert {(b, q) for b, _, q in changed} == {tuple(pair) for pair in expected}
        assert {h for _, h, _ in changed} == ({1} if site.head == 1 else {0, 1, 2, 3})


def test_the_input_is_never_written_to():
    before = X.clone()
    apply(Zero())
    assert torch.equal(X, before)


@pytest.mark.parametrize(
    ("do", "said"),
    [(Set((1.0, 2.0)), "wrong length"), (Project(((1.0, 2.0),)), r"expected \(k, 4\)"), (Project(()), "do not fit")],
)
def test_what_does_not_fit(do, said):
    with pytest.raises(InterventionError, match=said):
        apply(do)


def test_a_missing_source():
    with pytest.raises(InterventionError, match="needs a source"):
        edited(X, Edit(STREAM, Patch()), EVERYWHERE, None)


def test_no_weight_is_put_on_padding():
    pattern = torch.rand(2, 3, 4, 4)
    real = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    pattern[0, :, :, :2] = 0
    for site, rows in ((Site("pattern", 0, head=1), [1]), (Site("pattern", 0), [0, 1, 2])):
        new = edited(pattern, Edit(site, Add(0.25)), real, keys=real)
        assert torch.equal(new[0, :, :, :2], pattern[0, :, :, :2])
        torch.testing.assert_close(new[0, rows, 2:, 2:], pattern[0, rows, 2:, 2:] + 0.25)
        torch.testing.assert_close(new[1, rows], pattern[1, rows] + 0.25)


def test_what_is_added_makes_the_stream_exactly_zero_and_leaves_the_rest_as_it_is():
    before, old = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)) * 7
    stream = before + old
    stream[:25] = 0
    new = added(before, old, stream)
    assert torch.equal((before + new)[:25], torch.zeros(25))
    assert torch.equal(new[25:], old[25:])
