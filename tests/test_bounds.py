"""Chat templates that would take all memory or all time are refused in one sentence; others make what they made."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.tokens import RowEncoder

COUNTS = "counts through more than 1,000,000"
LOOPS = {
    "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}": COUNTS,
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}": COUNTS,
    "{% for a in range(10**18) %}x{% endfor %}": COUNTS,
    "{% for a in range(10**18, 0, -1) %}x{% endfor %}": COUNTS,
    "{{ 'x' * 10**9 }}": "makes more than 16,777,216 characters",
    "{{ 10**9 * 'xy' }}": "makes more than 16,777,216 characters",
    "{{ ([1, 2] * 10**9) | length }}": "makes more than 16,777,216 characters",
    "{% for a in range(100) %}{{ 'x' * 1000000 }}{% endfor %}": "makes more than 16,",
    "{% macro m(n) %}{% for a in range(99) %}{{ m(n + 1) }}{% endfor %}{% endmacro %}{{ m(0) }}": "template",
}
PLAIN = (
    "{% for m in messages %}{% if loop.index0 % 2 == 0 and not loop.last %}{{ '-' * 3 }}{% endif %}{{ m.content }}"
    "{{ range(3)[::-1] | list }}{{ range(2, 8, 3) | length }}{{ 2 * 3 }}{% endfor %}"
)


def encoder(tiny: Path, folder: Path, template: str) -> RowEncoder:
    shutil.copytree(tiny, folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(template)
    return RowEncoder(folder / "model", chat_template=True, max_length=100_000)


@pytest.mark.parametrize("template", LOOPS)
def test_a_template_comes_to_an_end(tiny: Path, tmp_path: Path, template: str) -> None:
    made = encoder(tiny, tmp_path, template)
    started = time.process_time()
    with pytest.raises(RequestError) as caught:
        made._render([{"role": "user", "content": "a"}], add_generation_prompt=True)
    assert LOOPS[template] in str(caught.value)
    assert time.process_time() - started < 20


def test_what_templates_do_is_what_it_was(tiny: Path, tmp_path: Path) -> None:
    made = encoder(tiny, tmp_path, PLAIN)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert made._render(messages, add_generation_prompt=False) == "---a[2, 1, 0]26b[2, 1, 0]26"
    long = [{"role": "user", "content": json.dumps("y" * (1 << 25))}]  # a row may be as long as it is
    assert len(made._render(long, add_generation_prompt=False)) > 1 << 25
