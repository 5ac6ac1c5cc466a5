"""requirements.lock: all that `make` installs but torch, in the versions of constraints.txt, known by hashes."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
}
ENTRY = re.compile(r"^([\w.-]+)==([^\s;]+)( ; .*?)? \\\n((?:    --hash=.*\n?)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, list[str]]]:
    """name -> version and SHA-256 of its files."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    found = {
        canonicalize_name(name): (version, re.findall(r"--hash=sha256:([0-9a-f]{64})(?= \\$|$)", hashes, re.MULTILINE))
        for name, version, _, hashes in ENTRY.findall(text)
    }
    assert len(found) == text.count("==") - text.count(" == '") > 50, "some of its entries were not understood"
    return found


def test_all_have_hashes_and_the_pinned_version(locked):
    for name, (version, hashes) in locked.items():
        assert hashes, name
        assert PINS.get(name, version) == version, f"{name}: make lock"


def needed(of: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """What a package needs here, and what that needs, as far as it is installed."""
    if (of, extras) in seen:
        return set()
    seen.add((of, extras))
    found = set()
    for text in requires(of) or []:
        one = Requirement(text)
        if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            name = canonicalize_name(one.name)
            found.add(name)
            try:
                found |= needed(name, frozenset(one.extras), seen)
            except PackageNotFoundError:
                continue
    return found


def test_nothing_that_is_needed_is_missing_but_torch(locked):
    wanted = needed("gptforge", frozenset({"dev"}), set()) - {"gptforge"}
    assert {"hydra-core", "pytest", "tokenizers"} < wanted
    cuda = re.compile("triton|cuda-.*|nvidia-.*")
    assert {name for name in wanted - locked.keys() if not cuda.fullmatch(name)} == {"torch"}
