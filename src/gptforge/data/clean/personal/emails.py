"""Finds e-mail addresses, also those spelt to hide from machines; asks no server.

An address counts by its form and its top-level domain, so user@host.py is one (Paraguay) and logo@2x.png is none.
"""

import re
from collections.abc import Iterator

from gptforge.data.clean.personal import domains, words
from gptforge.data.clean.personal.view import Span, View, occurrences

_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-'" + "".join(
    chr(c) for c in range(0xC0, 0x180) if chr(c).isalpha()
)
_LABEL = r"[0-9A-Za-zÀ-ÖØ-öø-ſ-]{1,63}"
_DOMAIN = re.compile(
    rf"(?>(?:[\w-]{{1,63}}\.){{1,4}}(?:{'|'.join(domains.CHINESE)})|(?:{_LABEL}\.){{1,8}}{_LABEL})(?!@|_[0-9A-Za-z])"
)
_FOR_EXAMPLES = re.compile(
    r"(?:[\w-]+\.)*(?:example\.(?:com|org|net|edu)|test|invalid|localhost)", re.IGNORECASE
)  # RFC 2606
_REMOTE_PATH = re.compile(r":(?:~|/(?!/)|[\w.-]+/)")  # git@host:path, user@host:~/file

_BRACKETED_AT = re.compile(r"@| ?[\[({] ?(?:at|AT|At|@) ?[\])}] ?|&#(?:64|x40);|%40| AT ")
_MESSAGE_ID = re.compile(r"(?:message-id|in-reply-to|references)\"?: ?<?\Z", re.IGNORECASE)
_AT_MARKS = tuple(map(re.compile, (r"\[ ?[aA@]", r"\( ?[aA@]", r"\{ ?[aA@]", "%40", "&#(?:64|x40);", " AT ", "@")))
_DOT = r"(?:\.| ?[\[({] ?(?:dot|DOT|Dot|\.|点) ?[\])}] ?| (?:dot|DOT) )"
_HIDDEN_DOMAIN = re.compile(rf"({_LABEL}(?:{_DOT}{_LABEL}){{1,5}})(?![0-9A-Za-z_@])")
_HIDDEN_LOCAL = re.compile(rf"(?<![0-9A-Za-z._+-])[0-9A-Za-z_+-]{{1,64}}(?:{_DOT}[0-9A-Za-z_+-]{{1,64}}){{0,4}}\Z")
_SPOKEN = re.compile(
    r"(?<![\w.+-])([\w+-]+(?:(?: dot |\.)[\w+-]+){0,4}) at ([\w-]+(?:(?: dot |\.)[\w-]+){0,3} dot [a-z]{2,6})(?!\w)",
    re.ASCII,
)


def find(view: View) -> Iterator[Span]:
    """Spans of addresses, those in plain form first."""
    plain = [span for match in re.finditer("@", view.text) if (span := _plain_email(view.text, match.start()))]
    yield from (("email", *span) for span in plain)
    rest = view.without(plain)
    hidden = sorted({span for span in (*_bracketed(rest), *_spoken(rest))})
    done = 0
    for start, end in hidden:
        if start >= done:
            yield "email", start, end
            done = end


def _plain_email(text: str, at: int) -> tuple[int, int] | None:
    """The span of the address around an @; None when there is none."""
    domain = _DOMAIN.match(text, at + 1)
    if domain is None:
        return None
    end = _domain_end(text, at + 1, domain.end())
    local = _local_before(text, at)
    start = at - len(local)
    if not end or not local or local == "git" or text[start - 1 : start] == "@":
        return None
    if _FOR_EXAMPLES.fullmatch(text[at + 1 : end]):
        return None
    if (
        _REMOTE_PATH.match(text, end)
        or _MESSAGE_ID.search(text[max(0, start - 20) : start])
        or _is_user_of_url(text, start)
    ):
        return None
    return start, end


def _local_before(text: str, at: int) -> str:
    """What stands before an @ as far as it can be the name of a mailbox; empty when it cannot."""
    window = text[max(0, at - 65) : at]
    local = window[len(window.rstrip(_LOCAL)) :]
    if len(local) > 64 or local.endswith((".", "'")):
        return ""
    local = local.rpartition("...")[2].lstrip(".-+'")
    return "" if ".." in local else local


def _is_user_of_url(text: str, start: int) -> bool:
    """Whether this is the user of ssh://user@host, or the password of http://user:password@host."""
    before = text[max(0, start - 80) : start]
    slashes = before.rfind("://")
    return slashes >= 0 and not re.search(r"[\s/?#&=\"']", before[slashes + 3 :]) and not before.endswith("mailto://")


def _domain_end(text: str, start: int, end: int) -> int:
    """Where the domain ends: at the last label that is a top-level domain; 0 when none is."""
    labels = text[start:end].split(".")
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return 0
    while len(labels) > 1:
        if domains.is_top_level(labels[-1]):
            return start + len(".".join(labels))
        labels.pop()
    return 0


def _bracketed(view: View) -> Iterator[tuple[int, int]]:
    """name [at] host [dot] com, name(at)host.com, name AT host DOT com, name%40host.com."""
    for mark in _AT_MARKS:
        for match in mark.finditer(view.text):
            yield from _hidden_around(view.text, match.start() - (view.text[match.start() - 1 : match.start()] == " "))


def _hidden_around(text: str, at: int) -> Iterator[tuple[int, int]]:
    sign = _BRACKETED_AT.match(text, at)
    if sign is None:
        return
    domain = _HIDDEN_DOMAIN.match(text, sign.end())
    local = _HIDDEN_LOCAL.search(text[max(0, at - 90) : at])
    if domain is None or local is None:
        return
    labels = re.split(_DOT, domain[1])
    if sign[0] == " AT " and " DOT " not in domain[0]:
        return
    if sign[0] == "@" and not re.search(r"[ (\[{]", domain[0]):
        return
    if domains.is_top_level(labels[-1]) and not any(label.startswith("-") for label in labels):
        yield at - len(local[0]), domain.end()


def _spoken(view: View) -> Iterator[tuple[int, int]]:
    """name dot name at host dot com, where more than "at" and "dot" speaks for it."""
    for dot in occurrences(view.lower, b" dot "):
        low = max(0, dot - 100)
        for match in _SPOKEN.finditer(view.text, low, dot + 60):
            surely = re.search(r"[\d._]| dot ", match[1]) or words.EMAIL.search(view.before(match.start()))
            if surely and match[2].rpartition(" ")[2].lower() in domains.COMMON:
                yield match.span()
