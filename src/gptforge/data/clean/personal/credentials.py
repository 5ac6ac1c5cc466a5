"""Finds API keys, tokens, private keys and passwords; tries none of them.

Three ways: a token that its issuer gives a known prefix; a value that a name such as `api_key` or `password` is given,
if it looks drawn at random rather than like a word, a name or a stand-in; and forms of their own (private keys,
passwords in URLs). Found is the value alone, without its name and quotes. Prefixes are from their issuers' documents.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator

from gptforge.data.clean.personal.view import Span, View, apart, occurrences

_TOKEN = bytes(b" a"[chr(c) in "0Aa_-"] for c in range(256))
_KNOWN = re.compile(
    r"(?:"
    r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # Amazon
    r"|gh[oprsu]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}"
    r"|gl(?:pat|ptt|dt|rt|soat|ft|imt|agent|oas|cbt)-[A-Za-z0-9_.-]{20,300}(?<![.-])"  # GitLab
    r"|xox[abceoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,250}|xapp-\d-[A-Za-z0-9-]{20,250}"  # Slack
    r"|[rs]k_(?:live|test|prod)_[A-Za-z0-9]{10,250}|whsec_[A-Za-z0-9+/]{24,}={0,2}"  # Stripe
    r"|AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|GOCSPX-[A-Za-z0-9_-]{20,40}|ya29\.[A-Za-z0-9_-]{20,400}"  # Google
    r"|sk-ant-[a-z]{3,5}\d\d-[A-Za-z0-9_-]{20,200}"  # Anthropic
    r"|hf_[A-Za-z0-9]{30,60}|api_org_[A-Za-z0-9]{30,60}"  # Hugging Face
    r"|gsk_[A-Za-z0-9]{40,60}|xai-[A-Za-z0-9]{60,90}|r8_[A-Za-z0-9]{37}|pplx-[A-Za-z0-9]{40,60}"
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,300}|dckr_pat_[A-Za-z0-9_-]{27}|rubygems_[a-f0-9]{48}"
    r"|do[opr]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|sq0[a-z]{3}-[A-Za-z0-9_-]{22,43}"
    r"|key-[a-f0-9]{32}|[a-f0-9]{32}-us\d{1,2}(?![0-9A-Za-z])|dapi[a-f0-9]{32}|SK[a-f0-9]{32}(?![0-9A-Za-z])"
    r"|LTAI[A-Za-z0-9]{16,20}(?![A-Za-z0-9])|AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])"  # Alibaba, Tencent
    r"|glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|lin_api_[A-Za-z0-9]{40}|ntn_[A-Za-z0-9]{40,50}|secret_[A-Za-z0-9]{43}"
    r"|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|hv[bs]\.[A-Za-z0-9_-]{24,200}|dp\.pt\.[A-Za-z0-9]{40,44}"
    r"|ATATT3[A-Za-z0-9_=-]{100,250}|EAACEdEose0cBA[A-Za-z0-9]+|sbp_[a-f0-9]{40}|tskey-[a-z]+-[A-Za-z0-9-]{20,80}|AGE-SECRET-KEY-1[A-Z0-9]{58}|NRAK-[A-Z0-9]{27}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}(?:\.[A-Za-z0-9_-]{10,8000}){1,4}(?:\.(?![A-Za-z0-9]))?"  # JSON Web Token
    r"|[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"  # Discord
    r")"
)
_OPENAI = re.compile(r"sk-(?:proj-|svcacct-|admin-|None-|or-v1-|lf-)?[A-Za-z0-9_-]{20,250}")
_DOTTED = re.compile(r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}|\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")
_WEBHOOK = re.compile(
    r"(?:https://)?(?:hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{30,120}"
    r"|(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d{10,20}/[A-Za-z0-9_-]{40,90}"
    r"|qyapi\.weixin\.qq\.com/cgi-bin/webhook/send\?key=[a-f0-9-]{36})"
)
_KEY_BLOCK = re.compile(r"-----(BEGIN|END)(?: [A-Z0-9]{2,12}){0,3} PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINES = re.compile(r"(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,}){1,200}")
_URL_PASSWORD = re.compile(r"://[^\s:/@<>\"'`]{0,64}:([^\s:/<>{}\[\]\"'`]{4,128})@(?=[\w.\[-])")

_PASSWORDS = "password|passwd|passphrase|passcode|pwd|passwort|contraseña|密码|口令|密碼"
_TOKENS = (
    "token|secret|apikey|api_key|api-key|api key|secretkey|secret_key|secret-key|secret key|accesskey|access_key|"
    "access-key|access key|access_key_id|accesskeyid|accesskeysecret|accesskey_secret|accountkey|account_key|authkey|"
    "auth_key|auth-key|privatekey|private_key|encryption_key|signing_key|subscription-key|webhook_key|credential|"
    "credentials|bearer|密钥|秘钥|令牌|私钥"
)
_PASSWORD_NAMES, _TOKEN_NAMES = tuple(_PASSWORDS.split("|")), tuple(_TOKENS.split("|"))
_SHORT_NAME = re.compile(r"(?<![a-z])(?:db_?|my_?|user_?|root_?|smtp_?)?(?:pass|pw|pin)\Z")
_IN_VALUE = r"[^\s\"'`<>(),;{}\[\]\u0080-\U0010ffff]"
_VALUE = rf"(?P<quote>[\"'`]?)(?!=|//)(?={_IN_VALUE}{{0,100}}?[0-9!@#$%^&*?~])(?P<value>{_IN_VALUE}{{6,300}})"
_GIVEN = tuple(re.compile(sign + r"[ \t]{0,4}" + _VALUE) for sign in ("=[>=]?", ":"))
# Each begins with a literal, which is searched for ten times faster than a choice of them
_NEW = rb"|".join(
    rb"(?<=%s pass%s)(?= )" % (new, end)
    for new in (b"temporary", b"initial", b"new", b"default", b"wifi", b"wi-fi")
    for end in (b"word", b"code")
)
_PASSWORD_IS = re.compile(rb"pass(?:word|phrase|code|wd)(?: (?:is|was)(?= |:)|" + _NEW + rb")")
_OPTION = re.compile(rb"--(?:password|passwd|passphrase) (?!-)")
_SHORT_OPTION = re.compile(rb" -p(?=['\"])")
_PASSWORD_IS_CN = re.compile(r"(?:密[码碼]|口令)已?(?:改|设|设置|重置|更新)?[是为成 ]")
_SAID = re.compile(r"[ \t:]{0,3}" + _VALUE)
_AUTHORIZED = re.compile(r"(?:[Bb]earer|BEARER) +(?P<value>[A-Za-z0-9_\-.=+/~]{16,500})")
_BASIC = re.compile(r"[Bb]asic +([A-Za-z0-9+/]{8,200}={0,2})(?![A-Za-z0-9+/=])")

_STAND_IN = re.compile(
    r"x{4,}|\*{3,}|\.{3,}|your|changeme|change_me|placeholder|dummy|example|sample|insert|replace|redacted|<|"
    r"\$\{|\{\{|%\(|\$\(|^\$[a-z_]|^%[a-z]|^env[:.]|process\.env|environ|getenv|^(?:test|fake|mock)",
    re.IGNORECASE,
)
_DEFAULTS = (
    "password passwd pass pwd secret token user username example test guest none null true false mypassword mysecret"
)
_NAME_LIKE = re.compile(r"[A-Za-z_]*[A-Za-z]\d{0,4}(?:[-_./:][A-Za-z]*\d{0,4})*")
_PATH_LIKE = re.compile(r"(?:[A-Za-z_]\w*[.:])+[A-Za-z_]\w*|[./~\\].*|\w+://.*|[A-Z]:\\.*")
_PLAIN_VALUE = re.compile(
    r"[a-z]+_[a-z_]+\d*|0x[0-9a-f]+|\d+[a-z]{1,2}|(?:u?int|float|str)\d+.*|.*(?:[=!]=|->|::).*|\d+(?:\.\d+)+"
)
_REFERENCE = re.compile(r"[a-z_]*(?:pass|pwd|token|secret|key|user|arg|param|value|str)[a-z_]*\d{0,2}", re.IGNORECASE)


def find(view: View) -> Iterator[Span]:
    """Spans of secrets, those of a sure form first."""
    text = view.text
    spans = [
        *_key_blocks(text),
        *_url_passwords(text),
        *_webhooks(view),
        *_known(view),
        *_authorized(view),
        *_given(view),
    ]
    return apart(("secret", *span) for span in spans)


def _known(view: View) -> Iterator[tuple[int, int]]:
    """Tokens with their issuers' prefixes: looked for where 20 letters, digits, _ and - follow each other."""
    text, tokens, done = view.text, view.shape.translate(_TOKEN), 0
    while (at := tokens.find(b"a" * 20, done)) >= 0:
        done = tokens.find(b" ", at)
        done = len(tokens) if done < 0 else done
        start = at + len(text[at : at + 8]) - len(text[at : at + 8].lstrip("-_"))
        match = _KNOWN.match(text, start) or _openai(text, start) or _behind_sign(text, at)
        if match and not _STAND_IN.search(match[0][:12]):
            yield match.span()
            done = max(done, match.end())


def _openai(text: str, at: int) -> re.Match[str] | None:
    """A token that begins with sk-, unless it is a name such as sk-toggleable-content."""
    match = _OPENAI.match(text, at)
    return match if match and re.search(r"[0-9]", match[0]) and not _NAME_LIKE.fullmatch(match[0]) else None


def _behind_sign(text: str, at: int) -> re.Match[str] | None:
    """SendGrid's SG.a.b and Telegram's 123456789:AA..., of which only what stands behind the sign is long."""
    before = text[max(0, at - 11) : at]
    digits = len(before) - 1 - len(before[:-1].rstrip("0123456789"))
    if before.endswith(":") and digits:
        return _DOTTED.match(text, at - 1 - digits)
    return _DOTTED.match(text, at - 3) if before.endswith("SG.") else None


def _webhooks(view: View) -> Iterator[tuple[int, int]]:
    for host in (b"hooks.slack.com/", b"/api/webhooks/", b"/webhook/send?"):
        for at in occurrences(view.lower, host):
            for match in _WEBHOOK.finditer(view.text, max(0, at - 32), at + 200):
                yield match.span()


def _key_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Private keys from -----BEGIN to -----END; where the end is cut off, as far as the lines go on."""
    if "PRIVATE KEY" not in text:
        return
    marks = list(_KEY_BLOCK.finditer(text))
    for n, mark in enumerate(marks):
        if mark[1] == "END":
            continue
        following = marks[n + 1] if n + 1 < len(marks) else None
        if following and following[1] == "END" and following.start() - mark.end() <= 20_000:
            if re.fullmatch(r"[^<>()]*[A-Za-z0-9+/]{12}[^<>()]*", text[mark.end() : following.start()]):
                yield mark.start(), following.end()
        elif lines := _KEY_LINES.match(text, mark.end()):
            yield mark.start(), lines.end()


def _url_passwords(text: str) -> Iterator[tuple[int, int]]:
    for match in _URL_PASSWORD.finditer(text):
        password = match[1]
        if not _is_stand_in(password) and not re.fullmatch(r"[$%].*|[a-z]{1,5}", password):
            yield match.span(1)


def _authorized(view: View) -> Iterator[tuple[int, int]]:
    """The token of a Bearer header, and name and password of a Basic one."""
    for at in occurrences(view.lower, b"bearer "):
        match = _AUTHORIZED.match(view.text, at)
        if match and _random(match["value"].rstrip(".")) and not _STAND_IN.search(match["value"]):
            yield match.start("value"), match.start("value") + len(match["value"].rstrip("."))
    for at in occurrences(view.lower, b"basic "):
        match = _BASIC.match(view.text, at)
        if match and _is_name_and_password(match[1]):
            yield match.span(1)


def _is_name_and_password(code: str) -> bool:
    try:
        return re.fullmatch(rb"[ -~]{1,99}:[ -~]{1,99}", base64.b64decode(code, validate=True)) is not None
    except binascii.Error:
        return False


def _given(view: View) -> Iterator[tuple[int, int]]:
    """Values that a name gives away: password = "...", "api_key": "...", the password is ..., 密码：..."""
    text = view.text
    for pattern in _GIVEN:
        for match in pattern.finditer(text):
            if (name := _name_before(text, match.start())) and (span := _secret_value(text, match, name)):
                yield span
    said = (
        *_PASSWORD_IS.finditer(view.lower),
        *_OPTION.finditer(view.lower),
        *_SHORT_OPTION.finditer(view.lower),
        *(() if text.isascii() else _PASSWORD_IS_CN.finditer(text)),
    )
    for name in said:
        match = _SAID.match(text, name.end())
        if match and (span := _secret_value(text, match, "password")):
            yield span


def _name_before(text: str, at: int) -> str:
    """Which kind of name stands before a sign that gives it a value: "password", "token" or none."""
    before = text[max(0, at - 40) : at].rstrip(" \t\"'`]):!=*").lower()
    if before.endswith(_PASSWORD_NAMES) or _SHORT_NAME.search(before[-12:]):
        return "password"
    if before.endswith("publickeytoken"):
        return ""
    return "token" if before.endswith(_TOKEN_NAMES) else ""


def _secret_value(text: str, match: re.Match[str], name: str) -> tuple[int, int] | None:
    """The span of a value when it looks like a secret."""
    start, end = match.span("value")
    value, quote = match["value"], match["quote"]
    if quote:
        if text[end : end + 1] != quote:
            closed = text.find(quote, end, end + 60)
            if closed < 0 or re.search(r"\s", text[end:closed]):
                return None
            end, value = closed, text[start:closed]
    else:
        value = value.rstrip(".:!?" if name == "token" else ".:?")
        end = start + len(value)
        if (
            re.match(r"[(\[{]|<(?!/)", text[end : end + 2])
            or _REFERENCE.fullmatch(value)
            or _PATH_LIKE.fullmatch(value)
        ):
            return None
    if "://" in value or (_is_stand_in(value) and not re.fullmatch(r"[A-Za-z0-9/+]{40}", value)):
        return None
    good = _random(value) if name == "token" else _password(value, quote)
    return (start, end) if good and "<" not in value else None


def _is_stand_in(value: str) -> bool:
    """Whether it says that a secret belongs here, as xxxx, $PASSWORD and changeme do."""
    return value.lower() in _DEFAULTS.split() or _STAND_IN.search(value) is not None


def _password(value: str, quote: str) -> bool:
    """Letters with digits or signs, as in a password that somebody chose, or six digits and more."""
    if not 6 <= len(value) <= 80 or _PLAIN_VALUE.fullmatch(value):
        return False
    if re.search(r"[0-9]", value):
        return True
    return len(value) >= 8 and all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[!@#$%^&*?~]"))


def _random(value: str) -> bool:
    """At least 12 characters with digits and letters that are no name such as us-east-1, 3 bits each or more."""
    if len(value) < 12 or not re.search(r"[0-9]", value) or not re.search(r"[A-Za-z]", value):
        return False
    if _NAME_LIKE.fullmatch(value) or re.search(r"[^!-~]", value):
        return False
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values()) >= 3.0
