"""Finds IP addresses of both versions; asks no server and knows no machine.

An address counts when it may be a person's machine: not 127.0.0.1, 0.0.0.0 and ::1, netmasks, multicast and whole
networks (10.0.0.0/8). Private and documentation addresses do count: logs are full of them. Four numbers may also be a
version or a section: words decide, then signs such as a port, then how large the numbers are.
"""

import ipaddress
import re
from collections.abc import Iterator

from gptforge.data.clean.personal import words
from gptforge.data.clean.personal.view import Span, View, occurrences

_IPV4 = re.compile(rb"0(?<![0_.+]0)0{0,2}\.00{0,2}\.00{0,2}\.00{0,2}(?![0Aa_]|\.[0Aa]|-[Aa])")
_DEFANGED = re.compile(r"(?<![\w.])(?:\d{1,3}\[\.\]){3}\d{1,3}(?![\w.\[])", re.ASCII)
_NETWORK = re.compile(r"/(\d{1,3})(?!\d)")
_KNOWN_RESOLVERS = frozenset(("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "4.2.2.1", "4.2.2.2"))

# No address: the rest of a name, a requirement (>= 1.2.3.4), a section, a product with its version (Chrome/115.0.0.1)
_NOT_AFTER = re.compile(r"[A-Za-z]-\Z|[<>=~!^]=\s?\Z|~>\s?\Z|§\s?\Z|(?:^|[\s\"'(;])[A-Z][A-Za-z]+/\Z", re.MULTILINE)
_LETTER = re.compile(r"[A-Za-z]\Z(?<!IP)(?<![^A-Za-z]ip)(?<!^ip)")  # v1.2.3.4, but not IP10.1.2.3
_VERSION_FOLLOWS = re.compile(
    r"\s?\(?(?:build|rev|release|patch)[ :.]{0,2}\d|\s?\(build|[ -]?(?:alpha|beta|rc\d)(?![a-z])|\s?版|\s?及?以上|"
    r"\s?(?:or|and|及|或) ?(?:later|newer|higher|above|更高)|</version>",
    re.IGNORECASE,
)
_HEADING_FOLLOWS = re.compile(r"[ \t]+[A-Z\u4e00-\u9fff]")
_LINE_BEGINS = re.compile(r"(?:^|\n)[ \t>#*|]*\Z")
_FROM = re.compile(r"(?<![A-Za-z])from (?:[\d.]+ to )?\Z", re.IGNORECASE)
_CONNECTED_BEFORE = re.compile(r"(?:://|@)\[?\Z")
_CONNECTED_AFTER = re.compile(r":(?:\d{2,5}(?!\d)|[/~])| - (?:-|[\w.-]+) \[")

_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_HEX = "0123456789abcdefABCDEF:."
_WITH_PORT = re.compile(r"((?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}):\d{1,5}")


def find(view: View) -> Iterator[Span]:
    """Spans of addresses, version 6 first: it may end in one of version 4."""
    found = list(_ipv6(view))
    yield from (("ip", *span) for span in found)
    rest = view.without(found)
    for match in _IPV4.finditer(rest.shape):
        if _is_ipv4(rest, *match.span()):
            yield "ip", *match.span()
    yield from _defanged(rest)


def _is_ipv4(view: View, start: int, end: int) -> bool:
    """Whether four numbers are an address rather than a version, a section or a mask."""
    text = view.text[start:end]
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    parts = address.packed
    network = parts.endswith(b"\0\0") or _is_network(view.text, end, address)
    if parts[0] in (0, 127) or parts[0] >= 224 or network:
        return False
    near = view.text[max(0, start - 24) : start]
    if _LETTER.search(near) or _NOT_AFTER.search(near):
        return False
    hint = words.nearest(view.before(start), words.IP, words.VERSION) or _said_of_last(view, start)
    if hint > 0 and _FROM.search(near):  # upgraded to 23.1.2.3 from 22.4.5.6
        around = f"{view.before(start)}|{view.text[end : end + 64]}"
        return not (_like_version(parts) and words.VERSIONED.search(around))
    if hint or _VERSION_FOLLOWS.match(view.text, end):
        return hint > 0
    titled = _HEADING_FOLLOWS.match(view.text, end) is not None
    if text in _KNOWN_RESOLVERS:
        return not titled
    heading = titled and _LINE_BEGINS.search(near) is not None
    return not _like_version(parts) or (not heading and _in_network_talk(view, start, end))


def _said_of_last(view: View, start: int) -> int:
    """What the words before the address that this one follows in a list say of both: 1 an address, -1 a version."""
    for _ in range(4):
        last = words.LAST_IN_LIST.search(view.text, max(0, start - 48), start)
        if last is None:
            return 0
        start = last.start()
        if hint := words.nearest(view.before(start), words.IP, words.VERSION):
            return hint
    return 0


def _like_version(parts: bytes) -> bool:
    """Whether the numbers are as small as those of versions and sections are; one of 250 addresses is so too."""
    if parts[0] == 10:
        return False
    return (parts[0] <= 40 and max(parts[1:3]) <= 60) or (parts[1] == 0 and parts[2] == 0)


def _in_network_talk(view: View, start: int, end: int) -> bool:
    """Whether something near says that machines are the subject."""
    if _CONNECTED_BEFORE.search(view.text[max(0, start - 4) : start]) or _CONNECTED_AFTER.match(view.text, end):
        return True
    low = view.text.rfind("\n", max(0, start - 64), start) + 1 or max(0, start - 64)
    high = view.text.find("\n", end, end + 48)
    around = view.text[low:start] + "|" + view.text[end : high if high >= 0 else end + 48]
    return words.NETWORK.search(around) is not None and words.VERSIONED.search(around) is None


def _is_network(text: str, end: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether /n follows and leaves no bit for a single machine: 10.0.0.0/8."""
    suffix = _NETWORK.match(text, end)
    if suffix is None or int(suffix[1]) >= address.max_prefixlen:
        return False
    return int(address) & ((1 << (address.max_prefixlen - int(suffix[1]))) - 1) == 0


def _defanged(view: View) -> Iterator[Span]:
    """203[.]0[.]113[.]7, as reports of attacks write it so that nobody follows it."""
    done = 0
    for at in occurrences(view.shape, b"0[.]0"):
        match = _DEFANGED.search(view.text, max(done, at - 2), at + 24)
        if match is None:
            continue
        done = match.end()
        if int(match[0].partition("[")[0]) not in (0, 127) and all(int(n) < 256 for n in match[0].split("[.]")):
            yield "ip", *match.span()


def _ipv6(view: View) -> Iterator[tuple[int, int]]:
    text, done = view.text, 0
    for match in _COLONS.finditer(text):
        if match.start() < done:
            continue
        window = text[max(done, match.start() - 46) : match.start()]
        start = match.start() - (len(window) - len(window.rstrip(_HEX)))
        ahead = text[start : start + 100]
        end = start + len(ahead) - len(ahead.lstrip(_HEX))
        done = end
        start, end = _trimmed(text, start, end)
        if end - start <= 45 and not _touches(text, start, end) and _is_ipv6(view, start, end):
            yield start, end


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A run of hexadecimal digits and signs without what belongs to its sentence: ip6:2001:db8::7, IP:2001:db8::7."""
    before = text[start - 1 : start]
    colon = text.find(":", start, end)
    if before.isascii() and before.isalpha():
        start = colon + 1
    elif colon == start and text[start : start + 2] != "::":
        start += 1
    while end > start and text[end - 1] in ":." and text[end - 2 : end] != "::":
        end -= 1
    with_port = _WITH_PORT.fullmatch(text, start, end)
    return start, with_port.end(1) if with_port else end


def _touches(text: str, start: int, end: int) -> bool:
    """Whether an ASCII letter, digit or _ stands next to a span."""
    return any(c.isascii() and (c.isalnum() or c == "_") for c in text[max(0, start - 1) : start] + text[end : end + 1])


def _is_ipv6(view: View, start: int, end: int) -> bool:
    """Whether it is an address of one machine; a::b of a program and 2000::10 of a slice are not."""
    written = view.text[start:end]
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    if address.ipv4_mapped:
        return address.ipv4_mapped.packed[0] not in (0, 127)
    if address.is_multicast or address.is_loopback or address.is_unspecified or _is_network(view.text, end, address):
        return False
    first = int(address) >> 112
    unicast = 0x2000 <= first <= 0x3FFF or 0xFC00 <= first <= 0xFDFF or 0xFE80 <= first <= 0xFEBF
    translated = int(address) >> 32 == 0x64_FF9B << 64  # RFC 6052: an address of version 4 behind 64:ff9b::
    groups = re.findall(r"[0-9A-Fa-f]+", written)
    if translated or (len(groups) == 8 and sum(len(group) >= 3 for group in groups) >= 4):
        return True
    if not unicast or len(groups) < 2:
        return unicast and words.nearest(view.before(start), words.IP, words.VERSION) > 0
    return len(groups) > 2 or re.search(r"[A-Fa-f]", written) is not None or _is_said(view, start)


def _is_said(view: View, start: int) -> bool:
    """Whether a word before it, or the brackets of a URL, say that it is an address."""
    if _CONNECTED_BEFORE.search(view.text[max(0, start - 4) : start]):
        return True
    return words.nearest(view.before(start), words.IP, words.VERSION) > 0
