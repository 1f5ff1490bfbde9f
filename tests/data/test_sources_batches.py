import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import fields, files, reading
from harness.data.rows import frame
from harness.data.sources import load
from harness.errors import RequestError
from harness.spec import Source

ODD = st.sampled_from(
    [b"{}", b"[1]", b"x", b'{"q": "\xff", "a": "b"}', b'{"q": null, "a": "b"}', b'{"q": "x", "a": "y", "s": "z"}',
     b'{"q": 7, "a": "", "s": 0.5, "id": 3}', b'{"q": " ", "a": " ", "s": 1}', b'{"q": "\\ud800", "a": "b", "s": 1}',
     b'{"q": "u", "a": "b", "s": 1, "id": "\\ud800"}', b'{"q": "u", "a": "b", "s": "\\ud800"}', b"", b"\r",
     b'{"q": "u", "a": "b", "s": true, "id": [1]}', b'{"q": "u", "q": "b"}', b'{"q": "u", "a": {"x": 1}, "s": 1}']
)  # fmt: skip
GOOD_LINES = st.builds(
    lambda q, s: json.dumps({"q": q, "a": "b", "s": s, "id": q}).encode(), st.text("aé\n"), st.integers()
)


@pytest.mark.parametrize("on_bad_row", ["stop", "drop"])
def test_batches_give_what_records_one_by_one_give(tmp_path: Path, on_bad_row: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(reading, "BATCH_SIZE", 150)
    declared = {"prompt": "Q: {q}", "completion": "a", "license": "id"}
    path = tmp_path / "a.jsonl"

    def one_by_one(source: Source) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        templates = {name: fields.Template.parse(name, text) for name, text in declared.items()}
        rows: list[dict[str, Any]] = []
        bad = []
        for record in files.read(reading.SourceFile(path, path.name, "")):
            if len(rows) == source.rows:
                break
            try:
                if record.value is None:
                    raise fields.BadRow(record.problem)
                meta = {"place": record.place}
                if record.value.get("id") is not None:
                    meta["id"] = str(record.value["id"])
                row = fields.canonical(record.value, templates)
                carried = fields.carried(record.value, ("s",), True)
                json.dumps(meta, ensure_ascii=False).encode()
                own = {
                    "source": "s",
                    "license": row["license"] or "MIT",
                    "meta": json.dumps(meta, separators=(",", ":"), ensure_ascii=False),
                }
                rows.append(row | own | {"columns": carried})
            except (fields.BadRow, UnicodeEncodeError) as error:
                bad.append((record.place, "" if isinstance(error, UnicodeEncodeError) else str(error)))
        return rows, bad

    @settings(deadline=None, max_examples=150)
    @given(st.lists(GOOD_LINES | ODD, max_size=14), st.none() | st.integers(1, 14))
    def same(lines: list[bytes], cap: int | None) -> None:
        path.write_bytes(b"\n".join(lines))
        source = Source(path="a.jsonl", fields=declared, columns=("s",), license="MIT", rows=cap, on_bad_row="drop")
        rows, bad = one_by_one(source)
        source = source.model_copy(update={"on_bad_row": on_bad_row})
        if not rows or (bad and on_bad_row == "stop"):
            with pytest.raises(RequestError) as error:
                load("s", source, tmp_path)
            if bad:
                assert bad[0][0] in str(error.value)
                assert bad[0][1].split('"')[0] in str(error.value)
        else:
            built = load("s", source, tmp_path)
            assert built.rows.to_dicts() == frame(rows).to_dicts()
            assert [(d["place"], d["reason"]) for d in built.drops.to_dicts() if "UTF-8" not in d["reason"]] == [
                pair for pair in bad if pair[1] and "UTF-8" not in pair[1]
            ]
            assert built.drops["place"].to_list() == [place for place, _ in bad]

    same()
