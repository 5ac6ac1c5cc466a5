import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data.prepare import check_length, prepare
from gptforge.data.store import SplitWriter
from gptforge.errors import DataError, ResourceError
from gptforge.tokenizers.char import CharTokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


def text_file(folder: Path, text: str, name: str = "text.txt") -> DataConfig:
    path = folder / name
    path.write_bytes(text.encode())
    return DataConfig(source="files", path=str(path))


def tokens_folders(cache: Path) -> list[Path]:
    return sorted((cache / "tokens").iterdir()) if (cache / "tokens").exists() else []


@given(TEXT, st.floats(0.01, 0.99), st.integers(1, 9))
def test_split_is_by_character_whatever_the_tokenizer(tmp_path_factory, text, val_fraction, chunk_bytes):
    cfg = text_file(tmp_path_factory.mktemp("text"), text)
    cfg.val_fraction = val_fraction
    boundary = int(len(text) * (1 - val_fraction))
    for kind in ("char", "byte"):
        data = prepare(cfg, TokenizerConfig(kind=kind), chunk_bytes=chunk_bytes)
        assert data.tokenizer.decode(data.train) == text[:boundary]
        assert data.tokenizer.decode(data.val) == text[boundary:]
        assert data.manifest["characters_only_in_val"] == len(set(text[boundary:]) - set(text[:boundary]))
        for split, part in (("train", text[:boundary]), ("val", text[boundary:])):
            entry = data.manifest["splits"][split]
            assert (entry["characters"], entry["bytes"]) == (len(part), len(part.encode()))
            assert entry["tokens"] == len(getattr(data, split))


def test_what_is_stored(own_cache, tmp_path):
    data = prepare(text_file(tmp_path, "hello wörld " * 100), TokenizerConfig())
    (folder,) = tokens_folders(own_cache)
    names = ["dataset.json", "tokenizer.json", "train.bin", "train.starts", "val.bin", "val.starts"]
    assert sorted(p.name for p in folder.iterdir()) == names
    manifest = json.loads((folder / "dataset.json").read_bytes())
    assert manifest == data.manifest and folder.name == data.fingerprint == manifest["key"]
    assert manifest["dtype"] == "<u2" and manifest["label"] == "text.txt" and manifest["tokenizer_kind"] == "char"
    assert manifest["splits"]["train"]["sha256"] == hashlib.sha256((folder / "train.bin").read_bytes()).hexdigest()
    assert isinstance(data.train, np.memmap) and not data.train.flags.writeable
    assert data.warnings == []


def test_the_same_text_is_used_again_and_another_is_not(own_cache, tmp_path):
    cfg = text_file(tmp_path, "a text to learn " * 50)
    first = prepare(cfg, TokenizerConfig())
    (folder,) = tokens_folders(own_cache)
    stamp = (folder / "train.bin").stat().st_mtime_ns
    assert prepare(cfg, TokenizerConfig()).fingerprint == first.fingerprint
    assert (folder / "train.bin").stat().st_mtime_ns == stamp
    status = Path(cfg.path or "").stat()
    text_file(tmp_path, "a text to LEARN " * 50)  # same size, same time: only the content differs
    os.utime(cfg.path or "", ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = prepare(cfg, TokenizerConfig())
    assert changed.fingerprint != first.fingerprint and "LEARN" in changed.tokenizer.decode(changed.train)
    others = [prepare(cfg, TokenizerConfig(kind="byte"))]
    cfg.val_fraction = 0.2
    others.append(prepare(cfg, TokenizerConfig()))
    assert len({first.fingerprint, changed.fingerprint, *(o.fingerprint for o in others)}) == 4


def test_the_label_is_this_texts_even_if_another_one_filled_the_cache(own_cache, tmp_path):
    prepare(text_file(tmp_path, "same " * 50, "one.txt"), TokenizerConfig())
    assert prepare(text_file(tmp_path, "same " * 50, "two.txt"), TokenizerConfig()).manifest["label"] == "two.txt"
    assert len(tokens_folders(own_cache)) == 1


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "no manifest", "bad manifest", "list", "missing", "other key", "deep", "objects"]
)
def test_damaged_tokens_are_built_again(own_cache, tmp_path, damage):
    cfg = text_file(tmp_path, "a text to learn " * 50)
    first = prepare(cfg, TokenizerConfig())
    expected = first.train.tolist()
    del first
    (folder,) = tokens_folders(own_cache)
    content = (folder / "train.bin").read_bytes()
    if damage == "flip":
        (folder / "train.bin").write_bytes(content[:10] + bytes([content[10] ^ 1]) + content[11:])
    elif damage == "truncate":
        (folder / "train.bin").write_bytes(content[:-2])
    elif damage == "missing":
        (folder / "val.bin").unlink()
    elif damage == "no manifest":
        (folder / "dataset.json").unlink()
    elif damage == "other key":
        manifest = json.loads((folder / "dataset.json").read_bytes())
        (folder / "dataset.json").write_text(json.dumps(manifest | {"key": "0" * 64}))
    elif damage == "objects":
        manifest = json.loads((folder / "dataset.json").read_bytes())
        (folder / "dataset.json").write_text(json.dumps(manifest | {"dtype": "O"}))
    elif damage == "deep":
        (folder / "dataset.json").write_text('{"a":' * 100_000)
    else:
        (folder / "dataset.json").write_text("[]" if damage == "list" else "{")
    again = prepare(cfg, TokenizerConfig())
    assert again.train.tolist() == expected
    assert len(again.warnings) == 1 and "built again" in again.warnings[0]
    assert prepare(cfg, TokenizerConfig()).warnings == []
    assert tokens_folders(own_cache) == [folder]


def test_tokens_of_an_earlier_version_are_made_anew_without_a_warning(own_cache, tmp_path):
    cfg = text_file(tmp_path, "a text to learn " * 50)
    now = prepare(cfg, TokenizerConfig()).manifest
    (folder,) = tokens_folders(own_cache)
    (folder / "dataset.json").write_text(json.dumps(now | {"schema_version": 1}))
    again = prepare(cfg, TokenizerConfig())
    assert again.warnings == [] and again.manifest == now
    assert json.loads((folder / "dataset.json").read_bytes()) == now


@pytest.mark.parametrize("key", ["../../x", "a\0b", 7, None, "/etc", "A" * 64])
def test_a_recipe_that_leads_elsewhere_is_none(own_cache, tmp_path, key):
    cfg = text_file(tmp_path, "a text to learn " * 50)
    prepare(cfg, TokenizerConfig())
    (note,) = (own_cache / "recipes").iterdir()
    note.write_text(json.dumps(json.loads(note.read_bytes()) | {"key": key}))
    assert prepare(cfg, TokenizerConfig()).warnings == []
    assert len(json.loads(note.read_bytes())["key"]) == 64


def test_characters_only_in_validation_are_said(tmp_path):
    data = prepare(text_file(tmp_path, "a" * 90 + "xyz" + "a" * 7), TokenizerConfig())
    assert data.warnings == ["3 characters occur only in the validation part, so they cannot be learnt"]


def test_a_given_tokenizer_is_used(tmp_path):
    cfg = text_file(tmp_path, "abc" * 40)
    data = prepare(cfg, TokenizerConfig(), CharTokenizer("abcdef"))
    assert data.tokenizer.vocab_size == 6 and data.manifest["vocab_size"] == 6
    with pytest.raises(DataError, match=r"2 characters that the vocabulary lacks: 'b' \(U\+0062\), 'c'"):
        prepare(cfg, TokenizerConfig(), CharTokenizer("a"))
    skipped = prepare(cfg, TokenizerConfig(), CharTokenizer("a", "skip"))
    replaced = prepare(cfg, TokenizerConfig(), CharTokenizer("a", "replace"))
    assert (len(skipped.train), len(replaced.train)) == (36, 108)


def test_too_short_for_a_block(tmp_path):
    data = prepare(text_file(tmp_path, "abcdefghij!"), TokenizerConfig())
    check_length(data, 8)
    with pytest.raises(DataError) as e:
        check_length(data, 32)
    assert "the training part has 9 tokens, at least block_size+1 = 33 are needed" in str(e.value)
    assert "model.block_size=8" in str(e.value)
    data = prepare(text_file(tmp_path, "abcdefghij"), TokenizerConfig())
    with pytest.raises(DataError, match="validation part has 1 tokens"):
        check_length(data, 8)
    tiny = prepare(text_file(tmp_path, "a"), TokenizerConfig())
    with pytest.raises(DataError, match="training part has 0 tokens"):
        check_length(tiny, 8)


def test_a_text_that_changes_meanwhile_is_refused(own_cache, tmp_path):
    cfg = text_file(tmp_path, "first " * 50)

    def edit(doing: str, share: float) -> None:
        if doing == "reading":
            text_file(tmp_path, "fist " * 50)

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(cfg, TokenizerConfig(), on_progress=edit)
    assert tokens_folders(own_cache) == []


def test_progress_goes_up_to_one(own_cache, tmp_path):
    told: list[tuple[str, float]] = []
    prepare(
        text_file(tmp_path, "some words " * 100),
        TokenizerConfig(),
        on_progress=lambda doing, share: told.append((doing, share)),
        chunk_bytes=64,
    )
    for doing in ("reading", "encoding"):
        shares = [share for what, share in told if what == doing]
        assert shares == sorted(shares) and shares[-1] == 1.0
    assert len([doing for doing, _ in told if doing == "reading"]) > 10


def test_a_full_disk_leaves_nothing(own_cache, tmp_path, monkeypatch):
    def full(self, text, ids):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cfg = text_file(tmp_path, "words " * 50)
    monkeypatch.setattr(SplitWriter, "add", full)
    with pytest.raises(ResourceError, match="No space left") as e:
        prepare(cfg, TokenizerConfig())
    assert e.value.exit_code == 5 and "GPTFORGE_CACHE=" in str(e.value)
    assert tokens_folders(own_cache) == []


def test_an_unwritable_cache(tmp_path, monkeypatch):
    cfg = text_file(tmp_path, "words " * 50)
    monkeypatch.setenv("GPTFORGE_CACHE", cfg.path or "")
    with pytest.raises(ResourceError, match=r"storing the tokens of text\.txt"):
        prepare(cfg, TokenizerConfig())


def test_what_dead_processes_left_is_removed_in_time(own_cache, tmp_path):
    for name, age in (("old", 2 * 24 * 3600), ("new", 60)):
        folder = own_cache / "tokens" / f".tmp-{name}"
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        for file in ("train.bin", ".tmp-train.starts-1-ab"):
            (folder / file).write_bytes(b"x")
            os.utime(folder / file, (then, then))
        os.utime(folder, (then, then))
    prepare(text_file(tmp_path, "words " * 50), TokenizerConfig())
    assert [p.name for p in tokens_folders(own_cache) if p.name.startswith(".tmp")] == [".tmp-new"]


def test_single_files_of_dead_processes_are_removed_too(own_cache, tmp_path):
    prepare(text_file(tmp_path, "words " * 50), TokenizerConfig())
    (kept,) = (path for path in tokens_folders(own_cache) if path.is_dir())
    old = [kept / ".tmp-report.html-1-ab", own_cache / "recipes" / ".tmp-old.json-1-ab"]
    new = own_cache / "recipes" / ".tmp-new.json-1-ab"
    for path in (*old, new):
        path.write_bytes(b"x")
    for path in old:
        os.utime(path, (1e9, 1e9))
    prepare(text_file(tmp_path, "other " * 50), TokenizerConfig())
    assert new.exists() and not any(path.exists() for path in old)


def test_an_id_outside_the_vocabulary_is_never_cast(tmp_path):
    writer = SplitWriter(tmp_path, "train", 65_536)
    with pytest.raises(ValueError, match="outside 0 to 65535"):
        writer.add("x", np.array([70_000]))
    writer.abort()


def test_two_processes_at_once_share_one_result(own_cache, tmp_path):
    cfg = text_file(tmp_path, "".join(f"line {i}\n" for i in range(30_000)))
    program = (
        "import sys\n"
        "from gptforge.config.data import DataConfig, TokenizerConfig\n"
        "from gptforge.data.prepare import prepare\n"
        "sys.stdin.readline()\n"
        "data = prepare(DataConfig(source='files', path=sys.argv[1]), TokenizerConfig(), chunk_bytes=4096)\n"
        "print(data.fingerprint, int(data.train.sum()), len(data.warnings))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, cfg.path or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in running:  # both have imported by the time the first line arrives, more or less
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert len(set(answers)) == 1 and answers[0].endswith(" 0\n")
    assert len(tokens_folders(own_cache)) == 1
