"""Makes text safe to show and store: spells out invisible and control characters, hides secrets."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from urllib.parse import unquote

# Controls (all but tab and line feed), then characters that have no width or change the direction of text: soft
# hyphens, zero-width and bidirectional characters, line and paragraph separators, byte-order marks, tags,
# noncharacters.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)

HIDDEN = "***"
SHORTEST = 6  # characters of a secret; shorter values are words that occur in other places too
# Words in the name of a variable that holds a secret (HF_TOKEN, AWS_SECRET_ACCESS_KEY, MYSQL_PWD), and endings of
# longer such words (PGPASSWORD, OPENAI_APIKEY, SSHPASS).
SECRET_WORDS = {"AUTH", "BEARER", "COOKIE", "CREDENTIAL", "CREDS", "JWT", "KEY", "PASS", "PAT", "PW", "PWD", "SAS"}
SECRET_ENDS = re.compile(
    r"(?:TOKEN|SECRET|PASSWO?R?D|PASSPHRASE|PASSCODE|CREDENTIALS|CREDS|"
    r"(?<!COM)(?<!BY)(?<!TRES)(?<!SUR)(?<!OVER)(?<!UNDER)PASS|PWD|"
    r"(?<!MON)(?<!TUR)(?<!DON)(?<!HOC)(?<!JOC)(?<!HOT)(?<!WHIS)(?<!SMO)KEY)$"
)
PLACES = {"PWD", "OLDPWD"}  # the current and the previous folder of a shell
# user:password@ of a URI. A password may hold characters that end a host elsewhere; host:port is not a login.
LOGIN = re.compile(r"(?P<scheme>\b[A-Za-z][\w+.-]*://)(?P<login>[^\s/?#\"']+|[^\s/?#\"':@]*:(?!\d*[/?#])[^\s@\"']+)@")
SETTING = re.compile(
    r"(?P<name>\b(?:[\w-]*(?:token|secret|password|passwd|passphrase|api_?key|access_?key|private_?key|signature|"
    r"credentials|_pwd|_pass)|sshpass|pwd|sig)\b[\"']?\s*[=:]\s*[\"']?)"
    r"(?!None\b|null\b|True\b|False\b)(?P<value>[^\s&\"',;)}\]]+)",
    re.IGNORECASE,
)
BEARER = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)(?P<value>[\w+/=.~-]{8,})", re.IGNORECASE)
ISSUED = re.compile(  # tokens with a known prefix: Hugging Face, AWS, GitHub, OpenAI, Slack
    r"\b(?:hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,})"
)


def visible(text: str) -> str:
    """Return the text with invisible characters spelled as in Python: ``\\x1b``, ``\\u202e``."""
    return UNSEEN.sub(_spelled, text)


def excerpt(text: str, characters: int = 120) -> str:
    """Return the beginning of a text on one line, invisible characters spelled out; ``…`` marks a cut."""
    flat = " ".join(text[: 4 * characters].split())
    cut = flat if len(flat) <= characters and len(text) <= 4 * characters else flat[: characters - 1] + "…"
    return visible(cut)


def policed(page: str) -> str:
    """Return a page with a policy for browsers: it loads nothing, runs nothing, and has no style but its own.

    Text from data is escaped anyway; the policy protects readers if escaping should fail.
    """
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # style-src is for browsers from before 2022, which do not distinguish elements and attributes.
    own = f"style-src 'unsafe-inline'; style-src-elem 'sha256-{digest}'; style-src-attr 'unsafe-inline'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    mark = '<meta charset="utf-8">'
    return page.replace(mark, f'{mark}\n<meta http-equiv="Content-Security-Policy" content="{policy}">', 1)


def redacted(text: str) -> str:
    """Return the text without secrets: values of variables named like secrets, logins in URIs, known tokens."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    text = LOGIN.sub(rf"\g<scheme>{HIDDEN}@", text)
    for pattern in (BEARER, SETTING):
        text = pattern.sub(rf"\g<name>{HIDDEN}", text)
    return ISSUED.sub(HIDDEN, text)


def is_secret(name: str) -> bool:
    """Return whether a variable holds a secret, judged by the words in its name."""
    if name in PLACES:
        return False
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
    for word in re.split(r"[^A-Z]+", words):  # a number at the end does not count: TOKEN2
        singular = word.removesuffix("S") if word in ("KEYS", "APIKEYS", "SECRETS", "PASSWORDS", "COOKIES") else word
        if singular in SECRET_WORDS or SECRET_ENDS.search(singular):
            return True
    return False


def _secrets() -> list[str]:
    """Return the secrets in this process's environment, longest first, as they are and as URIs spell them."""
    found = set()
    for name, value in os.environ.items():
        if is_secret(name):
            found.add(value)
        for uri in LOGIN.finditer(value):
            password = uri["login"].partition(":")[2]
            found |= {password, unquote(password)}
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=lambda one: (-len(one), one))


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
