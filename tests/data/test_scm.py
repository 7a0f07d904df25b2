"""Structural causal models against truth found another way: loops over every unit, numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from mechcausal.data.scm import SCM
from mechcausal.errors import DataError

# A causes B, B and A cause C, all three cause Y; noise in each, and interactions wherever they can be.
NOISE = {"u_a": [0.4, 0.6], "u_b": [0.7, 0.3], "u_c": [0.2, 0.5, 0.3], "u_y": [0.9, 0.1]}
MECHANISMS = {
    "a": lambda u_a: u_a,
    "b": lambda a, u_b: (a + u_b) % 2,
    "c": lambda a, b, u_c: np.maximum(a * u_c, b),
    "y": lambda a, b, c, u_y: 3 * a * c + 2 * b - c * u_y + a,
}
PLAIN = {
    "a": lambda w: w["u_a"],
    "b": lambda w: (w["a"] + w["u_b"]) % 2,
    "c": lambda w: max(w["a"] * w["u_c"], w["b"]),
    "y": lambda w: 3 * w["a"] * w["c"] + 2 * w["b"] - w["c"] * w["u_y"] + w["a"],
}


@pytest.fixture
def scm():
    return SCM("four", noise=NOISE, mechanisms=MECHANISMS)


def units():
    """Yield (noise, probability) of every unit."""
    for values in itertools.product(*(range(len(p)) for p in NOISE.values())):
        noise = dict(zip(NOISE, values, strict=True))
        yield noise, float(np.prod([NOISE[name][value] for name, value in noise.items()]))


def world(noise, **do):
    """Evaluate one unit, one variable at a time."""
    told = dict(noise)
    for name, mechanism in PLAIN.items():
        told[name] = do[name] if name in do else mechanism(told)
    return told


def mean(outcome):
    return sum(p * outcome(noise) for noise, p in units())


# Evaluation


def test_enumeration_is_every_unit_once_with_its_probability(scm):
    table, weights = scm.enumerate()
    found = {tuple(int(table[name][i]) for name in table): w for i, w in enumerate(weights)}
    expected = {tuple(world(noise)[name] for name in table): p for noise, p in units()}
    assert found.keys() == expected.keys()
    assert len(table["y"]) == len(expected)
    assert all(found[row] == pytest.approx(p) for row, p in expected.items())


def test_noise_of_probability_zero_makes_no_units():
    table, weights = SCM("half", noise={"u": [0.5, 0, 0.5]}, mechanisms={"v": lambda u: u}).enumerate()
    assert table["v"].tolist() == [0, 2]
    assert weights.tolist() == [0.5, 0.5]


def test_samples_agree_with_enumeration(scm):
    table = scm.sample(40_000, seed=3)
    for name in ("b", "c", "y"):
        exact, column = scm.expectation(name), table[name]
        assert column.mean() == pytest.approx(exact, abs=4 * column.std() / 200)
    again, other = scm.sample(50, seed=3), scm.sample(50, seed=4)
    assert all(np.array_equal(again[name], scm.sample(50, seed=3)[name]) for name in again)
    assert not np.array_equal(again["y"], other["y"])


def test_noise_may_be_a_function_of_a_generator():
    scm = SCM("line", noise={"u": lambda draw, n: draw.normal(size=n)}, mechanisms={"v": lambda u: 2 * u + 1})
    column = scm.sample(20_000)["v"]
    assert (column.mean(), column.std()) == (pytest.approx(1, abs=0.06), pytest.approx(2, abs=0.06))
    with pytest.raises(DataError, match="the noise 'u' has no finite domain: sample instead"):
        scm.enumerate()


def test_a_counterfactual_changes_what_is_downstream_and_keeps_the_noise(scm):
    table = scm.sample(200, seed=1)
    changed = scm.counterfactual(table, b=1 - table["b"])
    for i in range(200):
        noise = {name: int(table[name][i]) for name in NOISE}
        expected = world(noise, b=1 - int(table["b"][i]))
        assert {name: int(changed[name][i]) for name in changed} == expected
    assert all(np.array_equal(changed[name], table[name]) for name in (*NOISE, "a"))
    # Nothing of the original is touched, and undoing it gives it back.
    assert not np.array_equal(changed["y"], table["y"])
    back = scm.counterfactual(changed, b=table["b"])
    assert all(np.array_equal(back[name], table[name]) for name in table)


def test_counterfactuals_add_up_where_they_do_not_meet(scm):
    table = scm.sample(100, seed=2)
    both = scm.counterfactual(scm.counterfactual(table, a=1), c=2)
    assert all(np.array_equal(both[name], scm.counterfactual(table, a=1, c=2)[name]) for name in both)
    # The later intervention is upstream of the earlier one, so the earlier is computed anew.
    again = scm.counterfactual(scm.counterfactual(table, c=2), a=1)
    assert all(np.array_equal(again[name], scm.counterfactual(table, a=1)[name]) for name in again)


def test_noise_can_be_set_as_well(scm):
    table = scm.sample(100, seed=2)
    assert np.array_equal(scm.counterfactual(table, u_b=1)["b"], (table["a"] + 1) % 2)


def test_do_cuts_the_arrows_into_a_variable(scm):
    cut = scm.do(b=1)
    assert cut.parents("b") == ()
    assert cut.ancestors("b") == set()
    assert cut.descendants("a") == {"c", "y"}
    assert cut.d_separated("a", "b")
    assert not scm.d_separated("a", "b")
    assert cut.expectation("y") == pytest.approx(mean(lambda noise: world(noise, b=1)["y"]))
    assert scm.do(b=lambda a, u_y: a * u_y).expectation("y") == pytest.approx(
        mean(lambda noise: world(noise, b=noise["u_a"] * noise["u_y"])["y"])
    )


def test_do_may_leave_no_noise_and_any_number():
    scm = SCM("one", noise={"u": 2}, mechanisms={"v": lambda u: u, "w": lambda v: 2 * v})
    assert scm.do(u=1).enumerate()[0]["w"].tolist() == [2]
    assert scm.do(u=1).sample(3)["w"].tolist() == [2, 2, 2]
    assert scm.do(v=0.25).sample(2)["w"].tolist() == [0.5, 0.5]


def test_values_by_their_names(scm):
    named = SCM("named", noise=NOISE, mechanisms=MECHANISMS, values={"a": ("she", "he")})
    assert named.total_effect("a", "y", low="she", high="he") == scm.total_effect("a", "y")
    assert named.total_effect("a", "y", low="he", high="she") == -scm.total_effect("a", "y")
    assert named.expectation("y", given={"a": "he"}) == scm.expectation("y", given={"a": 1})
    assert named.do(a="he").expectation("y") == scm.do(a=1).expectation("y")
    assert named.index("a", "he") == 1


def test_uniform_draws_every_named_value_alike():
    scm = SCM(
        "name",
        noise={"u": [0.9, 0.1]},
        mechanisms={"v": lambda u: u, "w": lambda v: 5 * v},
        values={"v": ("no", "yes")},
    )
    assert scm.expectation("w") == pytest.approx(0.5)
    assert scm.uniform("v").expectation("w") == pytest.approx(2.5)
    with pytest.raises(DataError, match="the values of 'w' are not named"):
        scm.uniform("w")


def test_columns_may_have_several_entries_for_each_unit():
    scm = SCM(
        "rows",
        noise={"u": 3, "place": 2},
        mechanisms={
            "row": lambda u: np.stack([u, u + 10], axis=1),
            "one": lambda row, place: row[range(len(row)), place],
        },
    )
    assert scm.enumerate(given={"row": np.array([2, 12])})[0]["one"].tolist() == [2, 12]
    assert scm.counterfactual(scm.sample(4), row=np.zeros((4, 2)))["one"].tolist() == [0, 0, 0, 0]


# Effects


def test_effects_are_the_sums_over_all_units(scm):
    def y(noise, **do):
        return world(noise, **do)["y"]

    def at(noise, name, **do):
        return world(noise, **do)[name]

    total = mean(lambda u: y(u, a=1) - y(u, a=0))
    assert scm.total_effect("a", "y") == pytest.approx(total)
    for mediators in (["b"], ["c"], ["b", "c"]):

        def held(noise, level, mediators=mediators):
            return {m: at(noise, m, a=level) for m in mediators}

        direct = mean(lambda u, held=held: y(u, a=1, **held(u, 0)) - y(u, a=0))
        pure = mean(lambda u, held=held: y(u, a=0, **held(u, 1)) - y(u, a=0))
        through = mean(lambda u, held=held: y(u, a=1) - y(u, a=1, **held(u, 0)))
        assert scm.direct_effect("a", "y", mediators) == pytest.approx(direct)
        assert scm.indirect_effect("a", "y", mediators) == pytest.approx(pure)
        assert scm.indirect_effect("a", "y", mediators, total=True) == pytest.approx(through)
        assert direct + through == pytest.approx(total)
        assert pure != pytest.approx(through)
    fixed = mean(lambda u: y(u, a=1, b=1, c=2) - y(u, a=0, b=1, c=2))
    assert scm.controlled_effect("a", "y", {"b": 1, "c": 2}) == pytest.approx(fixed)
    assert scm.controlled_effect("a", "y", {"b": 1}) == pytest.approx(mean(lambda u: y(u, a=1, b=1) - y(u, a=0, b=1)))


def test_an_outcome_may_be_a_function_of_the_table(scm):
    chance = mean(lambda u: float(world(u, a=1)["y"] > 3) - float(world(u, a=0)["y"] > 3))
    assert scm.total_effect("a", lambda table: table["y"] > 3) == pytest.approx(chance)
    assert scm.path_effect("a", lambda table: table["y"] > 3, scm.paths("a", "y")) == pytest.approx(chance)


def test_conditioning_comes_before_acting(scm):
    """Abduction, action, prediction: what would y have been, had a been 0, where a and b were 1?"""
    kept = [(u, p) for u, p in units() if world(u)["a"] == 1 and world(u)["b"] == 1]
    expected = sum(p * world(u, a=0)["y"] for u, p in kept) / sum(p for _, p in kept)
    assert scm.expectation("y", do={"a": 0}, given={"a": 1, "b": 1}) == pytest.approx(expected)
    assert scm.expectation("y", do={"a": 0}) != pytest.approx(expected)


def test_abduction_by_bayes_on_paper():
    """A patient takes the drug with probability 1/2. Who is doomed (1/10) dies, who is frail (3/10) dies if untreated.

    Treated and alive: doomed is ruled out, so P(frail | t=1, d=0) = 0.3 / 0.9 = 1/3: the chance to have died untreated.
    Treated and dead: doomed for sure, so treatment changed nothing.
    """
    scm = SCM(
        "drug",
        noise={"u_treated": 2, "kind": [0.6, 0.3, 0.1]},
        mechanisms={
            "treated": lambda u_treated: u_treated,
            "dead": lambda treated, kind: (kind == 2) | ((kind == 1) & (treated == 0)),
        },
    )
    table, weights = scm.enumerate(given={"treated": 1, "dead": 0})
    assert dict(zip(table["kind"].tolist(), weights.tolist(), strict=True)) == pytest.approx({0: 2 / 3, 1: 1 / 3})
    assert weights @ scm.counterfactual(table, treated=0)["dead"] == pytest.approx(1 / 3)
    assert scm.expectation("dead", do={"treated": 0}, given={"treated": 1, "dead": 1}) == pytest.approx(1)
    assert scm.expectation("dead", do={"treated": 0}) == pytest.approx(0.4)
    assert scm.expectation("dead", given={"treated": 1}) == pytest.approx(0.1)


# Paths


def kite():
    """Return a -> m -> (n, y), n -> y: m is the recanting witness of the paths through n."""
    return SCM(
        "kite",
        noise={"u": 2, "v": 2},
        mechanisms={
            "a": lambda u: u,
            "m": lambda a, v: a ^ v,
            "n": lambda m, a: 2 * m + a,
            "y": lambda m, n: 10 * m + n * (m + 1),
        },
    )


def test_path_effects_in_the_kite_are_nested_counterfactuals():
    scm, total = kite(), {}
    chosen = {
        "m": [("a", "m", "y")],
        "m n": [("a", "m", "n", "y")],
        "n": [("a", "n", "y")],
        "m, m n": [("a", "m", "y"), ("a", "m", "n", "y")],
        "m, n": [("a", "m", "y"), ("a", "n", "y")],
    }
    for name, paths in chosen.items():
        for v in (0, 1):
            # Each place where m or a is read asks for itself along which path it stands.
            m_to_y = (1 if ("a", "m", "y") in paths else 0) ^ v
            m_to_n = (1 if ("a", "m", "n", "y") in paths else 0) ^ v
            a_to_n = 1 if ("a", "n", "y") in paths else 0
            n = 2 * m_to_n + a_to_n
            low = 10 * v + 2 * v * (v + 1)
            total[name] = total.get(name, 0) + 0.5 * (10 * m_to_y + n * (m_to_y + 1) - low)
        assert scm.path_effect("a", "y", paths) == pytest.approx(total[name])
    # An evaluation by edges cannot tell the first from the fourth: edge a -> m would be on for both.
    assert total["m"] != pytest.approx(total["m, m n"])
    edge_wise = np.mean([10 * (1 ^ v) + 2 * (1 ^ v) * ((1 ^ v) + 1) - (10 * v + 2 * v * (v + 1)) for v in (0, 1)])
    assert total["m, m n"] == pytest.approx(edge_wise)
    assert total["m"] != pytest.approx(edge_wise)


def test_no_path_is_no_effect_and_all_paths_are_the_total(scm):
    assert scm.path_effect("a", "y", []) == 0
    assert scm.path_effect("a", "y", scm.paths("a", "y")) == pytest.approx(scm.total_effect("a", "y"))
    assert scm.path_effect("a", "y", [("a", "y")]) == pytest.approx(scm.direct_effect("a", "y", ["b", "c"]))
    without_b = [path for path in scm.paths("a", "y") if "b" in path]
    assert scm.path_effect("a", "y", without_b) == pytest.approx(scm.indirect_effect("a", "y", ["b"]))


def test_what_follows_the_end_of_a_path_follows_from_it(scm):
    table = scm.enumerate()[0]
    stopped = scm.along_paths(table, "a", [("a", "b")], low=0, high=1)
    low, high = (scm.counterfactual(table, a=a) for a in (0, 1))
    expected = scm.counterfactual(low, b=high["b"])
    assert all(np.array_equal(stopped[name], expected[name]) for name in expected)


def test_paths_are_found_and_refused(scm):
    assert scm.paths("a", "y") == [("a", "y"), ("a", "b", "y"), ("a", "c", "y"), ("a", "b", "c", "y")]
    assert scm.paths("y", "a") == []
    for path, told in ((("a", "u_y"), "a -> u_y"), (("b", "y"), "b -> y"), (("a", "c", "b"), "a -> c -> b")):
        with pytest.raises(DataError, match=f"{told} is not a path of 'four' from 'a'"):
            scm.path_effect("a", "y", [path])


# Structure


def graph(**parents):
    """Return a causal model in which each variable has noise of its own and these parents."""

    def mechanism(*names):
        scope = {}
        exec(f"def sum_of({', '.join(names)}): return {' + '.join(names)}", scope)
        return scope["sum_of"]

    return SCM(
        "graph",
        noise={f"u_{v}": 2 for v in parents},
        mechanisms={v: mechanism(f"u_{v}", *above) for v, above in parents.items()},
    )


@pytest.mark.parametrize(
    ("parents", "given", "separated"),
    [
        ({"x": [], "m": ["x"], "y": ["m"]}, (), False),
        ({"x": [], "m": ["x"], "y": ["m"]}, ("m",), True),
        ({"m": [], "x": ["m"], "y": ["m"]}, (), False),
        ({"m": [], "x": ["m"], "y": ["m"]}, ("m",), True),
        ({"x": [], "y": [], "m": ["x", "y"]}, (), True),
        ({"x": [], "y": [], "m": ["x", "y"]}, ("m",), False),
        ({"x": [], "y": [], "m": ["x", "y"], "d": ["m"]}, ("d",), False),
        ({"x": [], "y": [], "m": ["x", "y"], "d": ["m"]}, ("d", "u_m"), False),
    ],
    ids=["chain", "chain | m", "fork", "fork | m", "collider", "collider | m", "collider | child", "collider | more"],
)
def test_d_separation_and_what_it_says_of_the_distribution(parents, given, separated):
    scm = graph(**parents)
    assert scm.d_separated("x", "y", given) is separated
    assert scm.d_separated("y", ["x"], list(given)) is separated
    # With sums of coins every dependence that the graph allows is there.
    table, weights = scm.enumerate()
    dependent = False
    for value in {tuple(row) for row in zip(*(table[g].tolist() for g in given), strict=True)} if given else [()]:
        rows = np.all([table[g] == v for g, v in zip(given, value, strict=True)], axis=0) if given else slice(None)
        w, x, y = weights[rows] / weights[rows].sum(), table["x"][rows], table["y"][rows]
        dependent |= abs(w @ (x * y) - (w @ x) * (w @ y)) > 1e-9
    assert dependent is not separated


def test_order_parents_and_relatives():
    scm = SCM("back", noise={"u": 2}, mechanisms={"late": lambda early: early, "early": lambda u: u})
    assert scm.order == ("early", "late")
    assert (scm.parents("late"), scm.parents("u")) == (("early",), ())
    assert (scm.ancestors("late"), scm.descendants("u")) == ({"early", "u"}, {"early", "late"})
    assert repr(scm) == "SCM('back': u -> early; early -> late)"


# Random graphs


def random_scm(seed):
    """Return a causal model with random tables as mechanisms, and the same as plain dictionaries."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(3, 6))
    names = [f"v{i}" for i in range(count)]
    parents = {v: [p for p in names[:i] if draw.random() < 0.7] for i, v in enumerate(names)}
    chances = {f"u{i}": draw.dirichlet(np.ones(int(draw.integers(1, 4)))).tolist() for i in range(count)}
    sizes = dict.fromkeys(names, 2) | {u: len(p) for u, p in chances.items()}
    tables = {v: draw.integers(0, 2, [sizes[p] for p in (*parents[v], f"u{v[1:]}")]) for v in names[:-1]}
    tables[names[-1]] = draw.normal(size=[sizes[p] for p in (*parents[names[-1]], f"u{count - 1}")])

    def mechanism(v):
        inputs = [*parents[v], f"u{v[1:]}"]
        scope = {"table": tables[v]}
        exec(f"def look_up({', '.join(inputs)}): return table[{', '.join(inputs)}]", scope)
        return scope["look_up"]

    scm = SCM(f"random {seed}", noise=chances, mechanisms={v: mechanism(v) for v in names})
    return scm, names, parents, chances, tables


def loop(parents, chances, tables, outcome, **do):
    """Return the mean outcome by a loop over units; `do` holds numbers, or functions of the unit's noise."""
    total = 0.0
    for values in itertools.product(*(range(len(p)) for p in chances.values())):
        noise = dict(zip(chances, values, strict=True))
        told = one(parents, tables, noise, **{v: f(noise) if callable(f) else f for v, f in do.items()})
        total += float(np.prod([chances[u][i] for u, i in noise.items()])) * told[outcome]
    return total


def one(parents, tables, noise, **do):
    told = dict(noise)
    for v, table in tables.items():
        told[v] = do[v] if v in do else table[tuple(told[p] for p in (*parents[v], f"u{v[1:]}"))]
    return told


def nested(parents, tables, noise, cause, paths, variable, tail=()):
    """Return a variable as seen along a path, by recursion: high if the path is chosen, low if it is not."""
    here = (variable, *tail)
    if variable == cause:
        return int(here in paths)
    inputs = [nested(parents, tables, noise, cause, paths, p, here) for p in parents[variable]]
    return tables[variable][(*inputs, noise[f"u{variable[1:]}"])]


@pytest.mark.parametrize("seed", range(25))
def test_random_causal_models_are_their_loops(seed):
    scm, names, parents, chances, tables = random_scm(seed)
    draw = np.random.default_rng(1000 + seed)
    cause, end = names[0], names[-1]
    for v in names:
        assert scm.expectation(v) == pytest.approx(loop(parents, chances, tables, v))
    total = loop(parents, chances, tables, end, **{cause: 1}) - loop(parents, chances, tables, end, **{cause: 0})
    assert scm.total_effect(cause, end) == pytest.approx(total, abs=1e-12)
    paths = scm.paths(cause, end)
    assert scm.path_effect(cause, end, paths) == pytest.approx(total, abs=1e-12)
    mediator = str(draw.choice(names[1:-1]))

    def low(noise):
        return one(parents, tables, noise, **{cause: 0})[mediator]

    mixed = loop(parents, chances, tables, end, **{cause: 1, mediator: low})
    base = loop(parents, chances, tables, end, **{cause: 0})
    assert scm.direct_effect(cause, end, [mediator]) == pytest.approx(mixed - base, abs=1e-12)
    assert scm.indirect_effect(cause, end, [mediator], total=True) == pytest.approx(total - mixed + base, abs=1e-12)
    # Any set of paths: every occurrence of the cause is high or low by the path it stands on.
    for _ in range(3):
        chosen = [path for path in paths if draw.random() < 0.5]
        effect = 0.0
        for values in itertools.product(*(range(len(p)) for p in chances.values())):
            noise = dict(zip(chances, values, strict=True))
            weight = float(np.prod([chances[u][i] for u, i in noise.items()]))
            effect += weight * nested(parents, tables, noise, cause, set(chosen), end)
        assert scm.path_effect(cause, end, chosen) == pytest.approx(effect - base, abs=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("noise", "mechanisms", "said"),
    [
        ({"u": 2}, {"a": lambda b: b, "b": lambda c: c, "c": lambda a: a}, "form a cycle: .* -> .* -> .* -> "),
        ({"u": 2}, {"a": lambda a: a}, "form a cycle: a -> a"),
        (
            {"noise_of_a": 2},
            {"a": lambda noise_of_b: 1},
            "'a' reads 'noise_of_b', which does not exist: did you mean 'nois",
        ),
        ({"u": 2}, {"u": lambda: 1}, "'u' is both noise and a variable"),
        (
            {"u": 2},
            {"a": lambda u: u + np.random.default_rng().random(len(u))},
            "of 'a' is not a function of its parents",
        ),
        ({"u": 2}, {"a": lambda u: np.cumsum(u)}, "of 'a' mixes units"),
        ({"u": 5}, {"a": lambda u: u - u.max() // 2 + u.sum()}, "of 'a' mixes units"),
        ({"u": 2}, {"a": lambda u: u[:5]}, r"of 'a' is not vectorized \(got 5 values; expected 48, one per unit\)"),
        (
            {"u": 2},
            {"a": lambda u: 1 if u == 1 else 0},
            "of 'a' is not vectorized .*a condition on a whole column.*np.where",
        ),
        ({"u": [0.5, 0.4]}, {"a": lambda u: u}, r"of the noise 'u' must add up to 1 \(got \[0.5, 0.4\]\)"),
        ({"u": [1.5, -0.5]}, {"a": lambda u: u}, "'u' must add up to 1"),
        ({"u": 0}, {"a": lambda u: u}, "'u' has no such number of values .got 0; expected 1 to"),
        ({"u": lambda draw, n: draw.random(3)}, {"a": lambda u: u}, r"'u' drew the wrong number .*\(3,\).*48 rows"),
    ],
)
def test_a_model_that_cannot_be(noise, mechanisms, said):
    with pytest.raises(DataError, match=said):
        SCM("bad", noise=noise, mechanisms=mechanisms)


def test_an_error_inside_a_mechanism_is_not_hidden():
    def broken(u):
        raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        SCM("bad", noise={"u": 2}, mechanisms={"a": broken})


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda scm: scm.total_effect("aa", "y"), "the causal model 'four' has no variable 'aa': did you mean 'a'"),
        (lambda scm: scm.parents("z"), "'four' has no variable 'z'"),
        (lambda scm: scm.enumerate(given={"bb": 1}), "has no variable 'bb'"),
        (lambda scm: scm.do(cc=1), "has no variable 'cc'"),
        (lambda scm: scm.total_effect("a", "y", low="she"), "'a' has no value 'she'"),
        (lambda scm: scm.enumerate(given={"a": 7}), "nothing in 'four' agrees with {'a': 7}"),
        (lambda scm: scm.solve({"u_a": np.zeros(2)}), "the noise of 'four' lacks 'u_b'"),
        (
            lambda scm: scm.counterfactual(scm.sample(5), a=[0, 1]),
            r"'a' is set with the wrong number of values \(got 2",
        ),
        (
            lambda scm: scm.counterfactual({"a": np.zeros(3), "c": np.zeros(3)}, b=1),
            "'c' cannot be computed: the table has no 'u_c': keep the noise",
        ),
        (lambda scm: scm.do(a=[0, 1]), r"do\(\) sets 'a' to one value for all units \(got 2 values\)"),
        (lambda scm: scm.d_separated("a", "a"), "'a' stands on two sides"),
        (lambda scm: scm.d_separated("a", "b", "b"), "'b' stands on two sides"),
        (lambda scm: scm.d_separated("a", "q"), "has no variable 'q'"),
    ],
)
def test_a_question_that_has_no_answer(scm, act, said):
    with pytest.raises(DataError, match=said):
        act(scm)


def test_too_many_units_are_refused_before_they_are_made():
    for count in (8, 40):  # 10**40 does not fit into 64 bits
        names = [f"u{i}" for i in range(count)]
        scm = SCM("large", noise=dict.fromkeys(names, 10), mechanisms={"v": lambda u0: u0})
        with pytest.raises(DataError, match=f"'large' has {10**count} units, too many to enumerate: sample instead"):
            scm.enumerate()


def test_the_check_can_be_left_out():
    scm = SCM("own risk", noise={"u": 2}, mechanisms={"a": lambda u: np.cumsum(u)}, check=False)
    assert scm.sample(5)["a"][-1] == scm.sample(5)["u"].sum()
