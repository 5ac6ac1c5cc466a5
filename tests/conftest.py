"""What all tests share: one cache, so that a text is fetched once, and property tests without time limits."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine makes single examples slow; how long the suite may take is checked elsewhere.
hypothesis.settings.register_profile("gptforge", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("gptforge")


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache that tests use: GPTFORGE_TEST_CACHE if that is set (kept), else a new folder; never the user's own."""
    given, here = os.environ.get("GPTFORGE_TEST_CACHE"), tmp_path_factory.getbasetemp()
    together = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here  # of all processes that test
    cache = Path(given) if given else together / "shared-cache"
    cache.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTFORGE_CACHE", str(cache))
        yield cache


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test alone."""
    cache = tmp_path / "own-cache"
    monkeypatch.setenv("GPTFORGE_CACHE", str(cache))
    return cache


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for one test alone, where its runs/ go."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
