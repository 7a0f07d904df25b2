"""Which heads find the indirect object in SmolLM2-135M-Instruct? See README.md."""

from __future__ import annotations

import argparse
from pathlib import Path

import mechcausal as mc

HERE = Path(__file__).parent
# Templates are the clusters, and with few of them p_max cannot be small; q bounds the share of false findings.
SURVIVES, CARRIES = 0.05, 0.05  # q at most, effect at least


def run(model_name: str, contrast: str, n: int, seed: int, out: Path, tokens: int = 4) -> dict[str, mc.Result]:
    """Run the sweeps, write each as soon as it is there, and return them by name."""
    model = mc.load(model_name)
    pairs = mc.contrast(contrast, model, n=n, seed=seed)
    results: dict[str, mc.Result] = {}

    def keep(name: str, result: mc.Result) -> mc.Result:
        result.save(out / f"{name}.parquet")
        results[name] = result
        return result

    heads = keep("heads", mc.patch(model, pairs, sites="z"))
    strong = heads.frame[heads.frame["q"].le(SURVIVES) & heads.frame["effect"].abs().ge(CARRIES)]
    if strong.empty:
        return results
    keep("direct", mc.path_patch(model, pairs, senders=list(strong["site"]), receivers="logits"))
    carriers = list(strong[strong["effect"] > 0]["site"])
    if carriers:
        keep("silenced", mc.ablate(model, pairs, sites=[tuple(carriers)], do="mean"))
        edits = [{"site": site, "do": "zero", "when": "both"} for site in carriers]
        texts = list(pairs.clean.texts[:4])
        keep("as_it_is", mc.generate(model, texts, tokens=tokens))
        keep("generated", mc.generate(model, texts, tokens=tokens, edits=edits))
    return results


def answer(results: dict[str, mc.Result]) -> str:
    """Say what was found."""
    heads = results["heads"]
    base = heads.baselines
    lines = [
        f"logit difference: clean {base['clean'].mean():.2f}, corrupt {base['corrupt'].mean():.2f}, {len(base['clean'])} pairs"
    ]
    if "direct" not in results:
        return "\n".join([*lines, f"none of {heads.family} heads changes the answer (false discovery rate {SURVIVES})"])
    effects = heads.frame.set_index("site")
    direct = results["direct"].frame.set_index("site")["effect"]
    lines.append(
        f"of {heads.family} heads, those with an effect of at least {CARRIES} (false discovery rate {SURVIVES}):"
    )
    for site in sorted(direct.index, key=lambda site: -effects.loc[site, "effect"]):
        row = effects.loc[site]
        lines.append(
            f"  {site:<10} effect {row['effect']:+.2f} [{row['effect_low']:+.2f}, {row['effect_high']:+.2f}], "
            f"directly to the logits {direct[site]:+.2f}"
        )
    if "silenced" in results:
        row = results["silenced"].frame.iloc[0]
        lines.append(
            f"with the carriers silenced by their mean the difference is {row['value']:.2f} (change {row['change']:+.2f})"
        )
        for text, before, after in zip(
            results["generated"].frame["before"], results["as_it_is"].texts, results["generated"].texts, strict=True
        ):
            lines.append(f"  {text} -> {before!r}; carriers silenced -> {after!r}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run, and print the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2", help="any causal language model that mc.load takes")
    parser.add_argument("--contrast", default="ioi")
    parser.add_argument("-n", type=int, default=16, help="pairs of prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    print(answer(run(given.model, given.contrast, given.n, given.seed, given.out)))
    print(f"results  {given.out}")


if __name__ == "__main__":
    main()
