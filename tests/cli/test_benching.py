"""The benchmark from a shell: a table, numbers and a page, and going on where it ended."""

from commands import refused, run


def test_bench_circuits(tmp_path):
    words = ["bench", "circuits", "--quick", "--methods", "random,eap", "--organisms", "by_hand", "-n", "8"]
    out = tmp_path / "bench.json"
    done = run(*words, "-o", out)
    assert done.code == 0, done.error
    assert "1 questions about organisms, 2 draws of 8 pairs each" in done.output
    assert f"page     {out.with_suffix('.html')}" in done.output
    assert out.with_suffix(".html").is_file()
    document = run(*words, "-o", out, "--json").document
    assert {row["method"] for row in document["rows"]} == {"random", "eap"}
    assert "holds a benchmark with other settings" in refused(*words, "-o", out, "--seed", "1")
