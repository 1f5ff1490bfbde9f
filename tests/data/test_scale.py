"""A million rows: read, mapped, digested and written within 2 GiB, in a process of its own."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROWS = 1_000_000
# What a worker of the harness does with a source, and what it took.
CHILD = """
import json, sys, time
from pathlib import Path
from harness.data import rows, sources
from harness.engines.meter import peak_memory
from harness.spec import Source
start = time.perf_counter()
source = Source(path=sys.argv[1], columns=("score",), license="MIT", origin="public")
pool = sources.load("s", source, Path(sys.argv[2]))
loaded = time.perf_counter()
digest = rows.pool_digest(pool.rows)
digested = time.perf_counter()
pool.rows.write_parquet(Path(sys.argv[2]) / "out.parquet")
written = time.perf_counter()
order = rows.ranked(pool.rows, 1, "draw", "s")
ranked = time.perf_counter()
print(json.dumps({
    "rows": pool.rows.height, "ids": pool.rows["row_id"].n_unique(), "digest": digest, "ranked": len(set(order)),
    "seconds": [loaded - start, digested - loaded, written - digested, ranked - written],
    "mib": peak_memory() / 2**20,
}))
"""
WORDS = [
    "the",
    "of",
    "to",
    "he",
    "apples",
    "buys",
    "each",
    "week",
    "many",
    "left",
    "dollars",
    "altogether",
    '"so"',
    "café",
]


PLAN = """
import sys
from harness.__main__ import main
sys.argv = ["harness", "plan", "study.yaml", "--workers", "1", "--json"]
try:
    main()
finally:
    from harness.engines.meter import peak_memory
    print(peak_memory() / 2**20, file=sys.stderr)
"""


def make(path: Path, rows: int, most: tuple[int, int] = (45, 30)) -> None:
    """Write rows of about 50 words (or fewer), each once, some with what JSON escapes."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8") as stream:
        for index in range(rows):
            question = " ".join(chance.choices(WORDS, k=chance.randint(15, most[0])))
            answer = " ".join(chance.choices(WORDS, k=chance.randint(8, most[1])))
            row = {"id": f"r-{index:07d}", "prompt": question, "completion": f"{answer}\n#### {index}"}
            row_json = json.dumps(row | {"score": round(chance.random(), 4)}, ensure_ascii=False)
            stream.write(row_json + "\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_rows_in_two_gibibytes(tmp_path: Path) -> None:
    make(tmp_path / "rows.jsonl", ROWS)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "rows.jsonl", str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    load, digest, write, rank = (ROWS / seconds for seconds in found["seconds"])
    every = ROWS / sum(found["seconds"][:3])
    print(
        f"\n{found['mib']:,.0f} MiB; rows/s: read and mapped {load:,.0f}, digested {digest:,.0f}, "
        f"written {write:,.0f}, all three {every:,.0f}; ranked {rank:,.0f}"
    )
    assert (found["rows"], found["ids"], found["ranked"]) == (ROWS, ROWS, ROWS)
    assert found["mib"] < 2048


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_on_a_million_short_rows_is_planned_in_two_gibibytes(study_folder: Path) -> None:
    """Read, decontaminated, drawn at every seed and written: all that `plan` does."""
    make(study_folder / "rows.jsonl", ROWS, (29, 12))
    study = yaml.safe_load((study_folder / "study.yaml").read_text())
    study["recipe"]["max_length"] = 512  # no row is cut before its answer
    study["sources"]["big"] = {"path": "rows.jsonl"}
    study["baseline"] = {"mix": {"big": 200}}
    study["arms"] = {"short": {"operations": [{"filter": {"max_words": 30}}]}}
    (study_folder / "study.yaml").write_text(yaml.safe_dump(study))
    done = subprocess.run([sys.executable, "-c", PLAN], cwd=study_folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mib = float(done.stderr.split()[-1])
    print(f"\n{mib:,.0f} MiB")
    assert "1,000,000 rows" in json.loads(done.stdout)["decontamination"]["text"]
    assert mib < 2048
