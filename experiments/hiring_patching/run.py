"""Which heads carry gender into a hiring decision? See README.md."""

from __future__ import annotations

import argparse
from pathlib import Path

import mechcausal as mc

HERE = Path(__file__).parent


def run(n: int, seed: int, out: Path) -> dict[str, mc.Result]:
    """Run the sweeps, write each as soon as it is there, and return them by name."""
    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model, n=n, seed=seed)
    results: dict[str, mc.Result] = {}

    def keep(name: str, result: mc.Result) -> mc.Result:
        result.save(out / f"{name}.parquet")
        results[name] = result
        return result

    keep("stream", mc.patch(model, pairs, sites="resid_pre"))
    heads = keep("heads", mc.patch(model, pairs, sites="z"))
    carriers = list(heads.frame.query("p_max <= .05 and effect > .1")["site"])
    keep("together", mc.patch(model, pairs, sites=[tuple(carriers)]))
    keep("paths", mc.path_patch(model, pairs, senders=carriers, receivers="L2.mlp_out"))
    # Of pairs the clean side is ablated: once with each side as the clean one, for the gap that is left.
    swapped = mc.Contrast(pairs.corrupt, pairs.clean, pairs.factor)
    keep("silenced", mc.ablate(model, pairs, sites=[tuple(carriers)], do="mean"))
    keep("silenced_other", mc.ablate(model, swapped, sites=[tuple(carriers)], do="mean"))
    return results


def answer(results: dict[str, mc.Result]) -> str:
    """Say what was found."""
    carriers = results["heads"].frame.query("p_max <= .05 and effect > .1").sort_values("effect", ascending=False)
    together, paths = results["together"].frame.iloc[0], results["paths"].frame
    heads, total = results["heads"], results["heads"].baselines
    before = float((total["clean"] - total["corrupt"]).mean())
    after = float((results["silenced"].examples[0] - results["silenced_other"].examples[0]).mean())
    lines = [f"{len(carriers)} of {heads.family} heads carry gender (corrected for all of them):"]
    for _, row in carriers.iterrows():
        path = paths[paths["site"] == row["site"]].iloc[0]
        lines.append(
            f"  {row['site']}: restores {row['effect']:.2f} [{row['effect_low']:.2f}, {row['effect_high']:.2f}], "
            f"of that {path['effect']:.2f} through L2.mlp_out"
        )
    lines.append(
        f"together they restore {together['effect']:.2f} [{together['effect_low']:.2f}, {together['effect_high']:.2f}]"
    )
    lines.append(f"the gap in log-odds is {before:.2f}, and {after:.2f} with them silenced by their mean")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run, and print the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=128, help="pairs of prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    print(answer(run(given.n, given.seed, given.out)))
    print(f"results  {given.out}")


if __name__ == "__main__":
    main()
