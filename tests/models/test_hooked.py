"""Interventions prove that they happened, and leave the model as it was."""

import pytest
import torch
from plain_dictionaries import TopK, attached_to
from zoo import ARCHITECTURES, build, loaded

from mechcausal.address import Site
from mechcausal.errors import InterventionError, ModelError, SiteError, UnsupportedError
from mechcausal.interventions import Add, Edit, Scale, Set
from mechcausal.interventions.specs import Patch
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward, readings


def test_every_hook_fires_once(gpt2, pairs):
    run = forward(
        gpt2, pairs.clean, [Edit.of("L1.z.H2", "zero"), Edit.of("L1.resid_mid", "zero")], read=[Site("mlp_out", 2)]
    )
    assert set(run.fired.values()) == {1}
    assert {"L1.z", "L1.attn_out", "L1.resid_pre", "L2.mlp_out"} == set(run.fired)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_run_that_stops_early_reads_the_same(name, pairs):
    """Every site that can be read, alone: bit for bit what the whole run reads, and the model is as it was."""
    model = loaded(name)
    readable = [name for name, ability in abilities(model).components.items() if ability.reads and name != "logits"]
    sites = [Site(name, layer) for name in readable for layer in ([None] if name == "embed" else range(3))]
    plain = forward(model, pairs.clean, read=sites)
    for site in sites:
        assert torch.equal(readings(model, pairs.clean, [site])[site], plain.read[site]), site
    together = readings(model, pairs.clean, sites)
    assert all(torch.equal(together[site], plain.read[site]) for site in sites)
    assert not bridge.is_hooked(model)
    assert torch.equal(forward(model, pairs.clean).logits, plain.logits)


def test_a_run_stops_when_all_has_been_read(gpt2, pairs):
    reached = []
    points = [bridge.hook_point(gpt2, Site("resid_pre", layer)) for layer in range(3)]
    for layer, point in enumerate(points):
        point.add_hook(lambda tensor, hook, layer=layer: reached.append(layer))
    try:
        readings(gpt2, pairs.clean, [Site("mlp_out", 0), Site("resid_mid", 1)])
        assert reached == [0, 1]
        readings(gpt2, pairs.clean, [])
        assert reached == [0, 1, 0, 1, 2]
    finally:
        for point in points:
            point.remove_hooks("fwd")


def test_dictionaries_are_read_by_a_run_that_stops_early(gpt2, pairs):
    with attached_to(gpt2, TopK(32), "L1.resid_mid", site_out="L1.mlp_out") as over:
        sites = [over.features, over.error]
        plain = forward(gpt2, pairs.clean, read=sites).read
        found = readings(gpt2, pairs.clean, sites)
    assert all(torch.equal(found[site], plain[site]) for site in sites)


def test_edits_compose_in_order(gpt2, pairs):
    site = Site("resid_post", 1)
    run = forward(gpt2, pairs.clean, [Edit(site, Set(2.0)), Edit(site, Add(1.0)), Edit(site, Scale(2.0))], read=[site])
    assert torch.equal(run.read[site], torch.full_like(run.read[site], 6.0))


def test_only_the_selection_changes(gpt2, pairs):
    site = Site("resid_pre", 2)
    before = forward(gpt2, pairs.clean, read=[site]).read[site]
    after = forward(gpt2, pairs.clean, [Edit.of("L2.resid_pre", "zero", "@2:4")], read=[site]).read[site]
    assert torch.equal(after[:, 2:4], torch.zeros_like(after[:, 2:4]))
    assert torch.equal(after[:, :2], before[:, :2])
    assert torch.equal(after[:, 4:], before[:, 4:])


def test_an_identity_edit_is_exactly_nothing(gpt2, pairs):
    plain = forward(gpt2, pairs.clean).logits
    for name in ("resid_pre", "resid_mid", "mlp_post", "z", "pattern"):
        assert torch.equal(forward(gpt2, pairs.clean, [Edit(Site(name, 1), Scale(1.0))]).logits, plain)


def test_a_source_of_the_wrong_shape_is_never_broadcast(gpt2, pairs):
    with pytest.raises(InterventionError, match=r"another shape.*expected \(6, 7, 32\)"):
        forward(gpt2, pairs.clean, [Edit(Site("resid_pre", 1), Patch())], sources=[torch.zeros(1, 7, 32)])
    with pytest.raises(InterventionError, match="wrong length"):
        forward(gpt2, pairs.clean, [Edit(Site("resid_pre", 1), Set((1.0, 2.0)))])


def test_an_error_leaves_no_hook_behind(gpt2, pairs):
    plain = forward(gpt2, pairs.clean).logits
    with pytest.raises(InterventionError):
        forward(gpt2, pairs.clean, [Edit.of("L0.z", "zero"), Edit(Site("mlp_out", 1), Set((1.0,) * 3))])
    assert torch.equal(forward(gpt2, pairs.clean).logits, plain)
    assert torch.equal(bridge.run(gpt2, pairs.clean.tokens, pairs.clean.mask), plain)
    assert not any(point.fwd_hooks for point in gpt2.hook_dict.values())


def test_a_user_hook_survives(gpt2, pairs):
    seen = []
    point = bridge.hook_point(gpt2, Site("resid_post", 0))
    point.add_hook(lambda tensor, hook: seen.append(1))
    try:
        forward(gpt2, pairs.clean, [Edit.of("L0.resid_post", "zero")])
        forward(gpt2, pairs.clean)
    finally:
        point.remove_hooks("fwd")
    assert len(seen) == 2


def test_a_hook_that_is_never_reached_is_an_error(gpt2, pairs, monkeypatch):
    from transformer_lens.hook_points import HookPoint

    monkeypatch.setattr(bridge, "hook_point", lambda model, site: HookPoint())
    with pytest.raises(InterventionError, match=r"L0\.z fired 0 times"):
        forward(gpt2, pairs.clean, [Edit.of("L0.z", "zero")])
    with pytest.raises(InterventionError, match=r"L0\.z fired 0 times"):
        readings(gpt2, pairs.clean, [Site("z", 0)])


def test_a_hook_that_fires_twice_is_an_error(gpt2, pairs, monkeypatch):
    run = bridge.run
    monkeypatch.setattr(bridge, "run", lambda *args: (run(*args), run(*args))[0])
    with pytest.raises(InterventionError, match="fired 2 times"):
        forward(gpt2, pairs.clean, [Edit.of("L0.z", "zero")])


def test_no_hook_point_is_an_error(gpt2, pairs, monkeypatch):
    monkeypatch.setattr(bridge, "hook_point", lambda model, site: None)
    with pytest.raises(SiteError, match=r"no hook point for L0\.mlp_out"):
        forward(gpt2, pairs.clean, read=[Site("mlp_out", 0)])


def test_a_stale_alias_is_looked_up_again(gpt2, pairs, monkeypatch):
    """An alias may name a hook point that left the model; the one in the module tree is used."""
    from transformer_lens.hook_points import HookPoint

    alive = bridge.hook_point(gpt2, Site("resid_post", 1))
    stale = HookPoint()
    stale.name = alive.name
    monkeypatch.setattr(type(gpt2), "get_hook_point", lambda self, name: stale)
    assert bridge.hook_point(gpt2, Site("resid_post", 1)) is alive


def test_a_bridge_with_dead_aliases_is_refused(pairs):
    class SAETransformerBridge:
        pass

    with pytest.raises(UnsupportedError, match="silently dead"):
        bridge.require_bridge(SAETransformerBridge())


def test_a_model_in_training_mode_is_refused(pairs):
    import mechcausal as mc

    model = mc.load(build("gpt2")).train()
    with pytest.raises(ModelError, match="training mode"):
        mc.patch(model, pairs)
