"""Chat templates write what transformers' write, and come to an end in little memory, however they make text grow."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.filters import FILTERS
from transformers.utils.chat_template_utils import _compile_jinja_template

from harness import bounds
from harness.bounds import LONGEST, TooMuch
from harness.spec import DATE, Suite
from harness.templates import ChatTemplate, compiled
from tests.evaluation import local_suite
from tests.tiny import CHAT_TEMPLATE, tiny_model

TURNS = [{"role": "user", "content": "a b\nc <i>&\u00e9"}, {"role": "assistant", "content": "y\n"}]
LONG = "{% set ns = namespace(x='xy ' * 4000000, l=[0] * 900000) %}"


def again(body: str, end: str = "") -> str:
    start = "{% set ns = namespace(x='xyz ', l=[1], t=(1,), n=3, m={}) %}{% for i in range(200) %}"
    return f"{start}{body}{{% endfor %}}{end}"


# Every way that was thought of to make much of little: step by step, at once, unseen in a macro, or only time.
GROWS = [
    again("{% set ns.x = ns.x ~ ns.x %}"),
    again("{% set ns.x = ns.x + ns.x %}"),
    again("{% set ns.x = ns.x * 2 %}"),
    again("{% set ns.x = ns.x|join(ns.x) %}"),
    again("{% set ns.x = [ns.x, ns.x]|map('upper')|join %}"),
    again("{% set ns.x = ns.x.join(ns.x) %}"),
    again("{% set ns.x = ns.x|replace('x', ns.x) %}"),
    again("{% set ns.x = ns.x.replace('', 'xx') %}"),
    again("{% set ns.x = ns.x|replace(old='x', new=ns.x) %}"),
    again("{% set ns.x = '{0}{0}'.format(ns.x) %}"),
    again("{% set ns.x = '%s%s' % (ns.x, ns.x) %}"),
    again("{% set ns.x = '%s%s'|format(ns.x, ns.x) %}"),
    again("{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
    again("{% set ns.x %}{% filter replace('x', ns.x) %}{{ ns.x }}{% endfilter %}{% endset %}"),
    again("{% set ns.x = ns.x.encode('utf-32')|string %}"),
    again("{% set ns.x = (ns.x|safe).join([ns.x, ns.x]) %}"),
    again("{% set ns.x = loop.cycle(ns.x, ns.x) ~ ns.x|default('') %}"),
    again("{% set ns.l = ns.l + ns.l %}"),
    again("{% set ns.l = ns.l * 2 %}"),
    again("{% set ns.t = ns.t + ns.t %}"),
    again("{% set ns.l = [ns.l, ns.l] %}", "{{ ns.l }}"),
    again("{% set ns.t = (ns.t, ns.t) %}", "{{ {ns.t: 1} }}"),
    again("{% set ns.m = {'a': ns.m, 'b': ns.m} %}", "{{ ns.m|tojson }}"),
    again("{% set ns.m = dict(a=ns.m, b=ns.m) %}", "{{ ns.m == 1 }}"),
    again("{% set ns.m = dict.fromkeys([1, 2], ns.m) %}", "{{ ns.m }}"),
    again("{% set ns.m = {1: ns.m, 2: ns.m}.items() %}", "{{ ns.m|string }}"),
    again("{% set ns.t = (ns.t,) %}", "{{ {ns.t: 1} }}"),
    again("{% set ns.n = ns.n * ns.n %}"),
    "{{ 10 ** 10 ** 10 }}".replace("10 ** 10 ** 10", "10 ** (10 ** 10)"),
    "{{ ('f' * 1000000)|int(base=16) }}",
    "{{ 'a'|center(10 ** 12) }}",
    "{{ 'a'|center(1000000000000) }}",
    "{{ 'a'.ljust(10 ** 12) }}",
    "{{ ('a'|attr('zfill'))(10 ** 12) }}",
    "{{ 'a'['rjust'](10 ** 12) }}",
    "{{ ('a\n' * 1000)|indent(1000000) }}",
    "{{ ('a\n' * 100000)|indent('x' * 1000000) }}",
    "{{ '%1000000000000s'|format('a') }}",
    "{{ '%*d' % (10 ** 9, 1) }}",
    "{{ '%.1000000000f' % 1.5 }}",
    "{{ '{:1000000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=10 ** 11) }}",
    "{{ '{a:1000000000000}'.format_map({'a': 1}) }}",
    "{{ [1]|batch(10 ** 10, 'x')|list }}",
    "{{ [1]|slice(10 ** 10)|list }}",
    "{{ 1.5|round(10 ** 9, 'ceil') }}",
    "{{ (1).to_bytes(10 ** 11) }}",
    "{{ ('\t' * 1000).expandtabs(10 ** 9) }}",
    "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "{{ ('a ' * 1000000)|wordwrap(1, wrapstring='b' * 1000000) }}",
    "{{ [1]|tojson(indent=10 ** 11) }}",
    "{{ [[[[1]]]]|tojson(indent='x' * 10000000) }}",
    "{{ strftime_now('%Y' * 10000000) }}",
    "{{ ([[1]] * 500000)|sum(start=[]) }}",
    "{{ ('<!--a-->' * 1000000)|striptags }}",
    "{% macro m(n) %}{{ m(n-1, varargs, varargs) if n else varargs }}{% endmacro %}{{ m(90, 1) }}",
    "{% block b %}x{{ self.b() }}{{ self.b() }}{% endblock %}",
    "{% macro m() %}{% for i in range(900000) %}" + "y" * 10000 + "{% endfor %}{% endmacro %}{{ m()|length }}",
    LONG + "{% macro m() %}{% for i in range(100000) %}{{ ns.x }}{% endfor %}{% endmacro %}{{ m()|length }}",
    LONG + "{{ ns.l|map('default', ns.x, true)|join }}",
    LONG + "{{ ([''] * 100000)|map('replace', '', ns.x)|list|length }}",
    LONG + "".join(f"{{% set a{i} = ns.x[{i}:] %}}" for i in range(300)),
    LONG + "".join(f"{{% set a{i} = ns.x ~ {i} %}}" for i in range(300)),
    LONG + "{{ [" + ", ".join(["ns.x ~ 1"] * 300) + "]|length }}",
    LONG + "{% set y = ns.x[1:] %}{% set z = ns.x[1:] %}{% for i in range(900000) %}{{ '' if y == z }}{% endfor %}",
    LONG + "{% for i in range(900000) %}{{ '' if 'q' in ns.x }}{% endfor %}",
    LONG + "{% for i in range(900000) %}{{ '' if 'q' is in(ns.x) }}{% endfor %}",
    LONG + "{{ (['q'] * 100000)|select('in', ns.x)|list|length }}",
    LONG + "{% for i in range(900000) %}{{ '' if ns.x.count('q') }}{% endfor %}",
    LONG + "{% for i in range(900000) %}{{ '' if dict.fromkeys(ns.l) }}{% endfor %}",
    LONG + "{% for i in range(900000) %}{% set ns.l = ns.l|map('string') %}{% endfor %}{{ ns.l|list }}",
    "{% set l = [0] * 999 %}" + "{% for a in l %}" * 4 + "{% endfor %}" * 4,
    "{% set l = 'x' * 999 %}" + "{% for a in l %}" * 4 + "{% endfor %}" * 4,
    "{% set l = [0, 0] %}{% for a in l recursive %}{% if loop.depth < 90 %}{{ loop(l) }}{% endif %}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
]  # fmt: skip
MEASURED = """
import datetime, json, resource, sys, time
from harness.templates import ChatTemplate, failed
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for template in json.load(sys.stdin):
    before, started = used(), time.process_time()
    try:
        said = ChatTemplate(template, datetime.date(2024, 1, 1)).render([{"role": "user", "content": "a"}])
    except Exception as error:
        said = failed(error)
    print(json.dumps([said[:200], used() - before, time.process_time() - started]))
"""


@pytest.mark.slow
def test_templates_end_in_little_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEASURED], input=json.dumps(GROWS), capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in run.stdout.splitlines()]
    for template, (said, megabytes, seconds) in zip(GROWS, told, strict=True):
        assert said.startswith("the model's chat template "), (template[:200], said)
        assert megabytes < 300, (template[:200], megabytes)
        assert seconds < 60, (template[:200], seconds)


def test_all_that_python_and_jinja_have_is_known() -> None:
    made = {
        "append",
        "clear",
        "extend",
        "insert",
        "pop",
        "remove",
        "reverse",
        "sort",
        "popitem",
        "setdefault",
        "update",
    }
    changes = made | {"add", "discard", "difference_update", "intersection_update", "symmetric_difference_update"}
    for kind in (str, bytes, list, tuple, dict, set, int, float):
        methods = {name for name in dir(kind) if name[0] != "_" and callable(getattr(kind, name))}
        assert methods <= changes | set(bounds.METHODS) | bounds.PLAIN_METHODS
    assert set(FILTERS) - set(bounds.FILTERS) - bounds.PLAIN_FILTERS == {"indent", "urlize", "wordwrap"}


VALUES = ["'ab\tc'", "10 ** 12", "3", "['x', 'y']", "{'a': 1}", "messages", "''", "('z' * 3000)", "true", "b", "(1, 2)"]
CALLS = [*(f"|{name}" for name in sorted(FILTERS)), *(f".{name}" for name in dir(str) if name[0] != "_")]


@given(value=st.sampled_from(VALUES), name=st.sampled_from(CALLS), given_=st.lists(st.sampled_from(VALUES), max_size=3))
def test_what_is_made_is_never_longer_than_thought(value: str, name: str, given_: list[str]) -> None:
    try:
        made = ChatTemplate(f"{{{{ ({value}){name}({', '.join(given_)}) }}}}", DATE).render(TURNS)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # what makes no sense fails as it does in jinja
        return
    assert len(made) <= LONGEST


PIECES = [
    "{{ m.role }}", "{{ '<|' ~ m.role ~ '|>' }}", "{{ '[' + m['content'] + ']' }}", "{{ m.content|trim }}\n",
    "{%- if loop.first %}{{ bos_token }}{% endif %}", "{{ m | tojson }}", "{{ m|tojson(indent=2) }}",
    "{{ m.content.split('\\n')[-1].strip() }}", "{% if 'b' in m.content %}b{% else %}-{% endif %}",
    "{{ m.content|replace('a', 'aa')|upper }}", "{{ '%s:%d' % (m.role, loop.index) }}",
    "{{ '{} {:>5}'.format(1, 'a') }}",
    "{% set ns.n = ns.n + 1 %}{{ ns.n }}", "{% set ns.t = ns.t ~ m.content %}{{ ns.t }}", "{{ m.items()|list }}",
    "{{ messages|map(attribute='role')|unique|join(', ') }}", "{{ messages[1:] | length }}",
    "{{ m.tool_calls is defined }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|first }}",
    "{{ loop.last and not loop.first }}",
    "{{ note(m, x=1) }}", "{% for k, v in m|dictsort %}{{ k }}={{ v|e }};{% endfor %}", "{{ (m.content ~ 'x')[::-1] }}",
    "{{ [m.role, [1, 2.5, none, true]] }}", "{{ {'a': m.content} }}", "{{ 7 // 2 ** 2 % 3 * -1 }}", "{{ m.missing }}",
    "{{ loop.cycle('a', 'b') }}", "{% if loop.index0 > 5 %}{% break %}{% endif %}",
    "{{ m.content|indent(4)|wordwrap(3) }}",
    "{% set held %}<{{ m.role }}>{% endset %}{{ held * 2 }}",
    "{{ m.content.startswith('a') or m.get('role') == 'user' }}",
    "{% filter upper %}u{{ m.role }}{% endfilter %}", "{{ m.role|capitalize|center(20)|string|length }}", "{{ tools }}",
    "{% for c in m.content if c not in ['a', ' '] %}{{ c }}{{ loop.length }}{% else %}none{% endfor %}",
    "{{ range(3)|sum }}",
]  # fmt: skip
START = (
    "{% macro note(m, x=2) %}({{ m.role }} {{ x }} {{ m }}){% endmacro %}"
    "{% set ns = namespace(n=0, t='') %}{% for m in messages %}"
)


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), prompt=st.booleans())
def test_templates_write_what_transformers_writes(pieces: list[str], prompt: bool) -> None:
    template = START + "".join(pieces) + "{% endfor %}{% if add_generation_prompt %}<go>{% endif %}"
    names: dict[str, Any] = {"tools": None, "bos_token": "<s>", "add_generation_prompt": prompt}
    theirs = _compile_jinja_template(template).render(messages=TURNS, **names)
    assert ChatTemplate(template, DATE).render(TURNS, **names) == theirs


def test_a_long_row_may_be_written_at_length() -> None:
    row = [{"role": "user", "content": "ab\n" * 2_000_000}]
    template = (
        "{% for m in messages %}{{ m.content|replace('\n', '\n    ') ~ m.content.split('\n')|length }}{% endfor %}"
    )
    assert len(ChatTemplate(template, DATE).render(row)) == 2_000_000 * 7 + 7


def test_a_template_is_read_once() -> None:
    assert compiled(CHAT_TEMPLATE, DATE) is compiled(CHAT_TEMPLATE, DATE)
    assert compiled(CHAT_TEMPLATE, DATE) is not compiled(CHAT_TEMPLATE, datetime.date(2031, 5, 17))


def test_the_meter_is_for_one_row() -> None:
    template = ChatTemplate("{% for i in range(600000) %}{% endfor %}{{ messages[0].content }}", DATE)
    assert [template.render(TURNS[:1]) for _ in range(3)] == [TURNS[0]["content"]] * 3
    with pytest.raises(TooMuch, match="1,000,000"):
        ChatTemplate("{% for i in range(600000) %}{% endfor %}{{ range(600000)|length }}", DATE).render(TURNS)


EVALUATED = """
import json, resource, sys, time
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from harness.errors import RequestError
from harness.evaluation.run import rehearse
from harness.spec import Suite
model, suite, folder = sys.argv[1:]
loaded = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
said, before, started = "evaluated", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    rehearse(*loaded, Suite.model_validate_json(suite), Path(folder))
except RequestError as error:
    said = str(error)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([said, used // 1024, time.process_time() - started]))
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("asked")
    tasks = {"gaps": {"task": "local_complete"}}
    suite = local_suite.make(folder / "base", folder / "suite", **tasks)
    return suite.model_copy(update={"chat_template": True}), folder / "suite"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hostile", "sentence"),
    {
        again("{% set ns.x = ns.x ~ ns.x %}"): "makes more than 16,777,216 characters of a row",
        "{% set l = [0] * 999 %}{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}": (
            "makes more than 134,217,728 characters on the way to those of a row"
        ),
        "{{ raise_exception('no') }}": "refuses a row: no",
        "": None,
    }.items(),
)
def test_an_evaluation_ends_too(asked: tuple[Suite, Path], tmp_path: Path, hostile: str, sentence: str | None) -> None:
    suite, folder = asked
    model = tiny_model(tmp_path / "model")
    (model / "chat_template.jinja").write_text(hostile + CHAT_TEMPLATE)
    command = [sys.executable, "-c", EVALUATED, str(model), suite.model_dump_json(), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    said, megabytes, seconds = json.loads(run.stdout.splitlines()[-1])
    wrong = f"a question of the suite: the model's chat template {sentence}"
    assert said == ("evaluated" if sentence is None else wrong)
    assert megabytes < 500
    assert seconds < 30
