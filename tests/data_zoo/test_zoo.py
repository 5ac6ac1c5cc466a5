"""Every animal trains or gives its one message: no traceback, nothing half-written, no silent empties."""

import contextlib
import os
from collections import namedtuple
from pathlib import Path

import pytest
from animals import ZOO, Animal

import small

SETTINGS = ["model=tiny", "model.n_layer=1", "train.steps=2", "batch_size=2", "sample.max_new_tokens=1", "ui=plain"]


def test_the_zoo_is_large_and_its_animals_differ():
    assert len(ZOO) >= 40 and len({animal.name for animal in ZOO}) == len(ZOO)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_animal(animal: Animal, own_folder, own_cache, capsys):
    inside = own_folder / "zoo"
    inside.mkdir()
    typed = animal.make(inside)
    if animal.name == "an_unreadable_file" and os.access(typed, os.R_OK):
        pytest.skip("this user may read everything")
    block = [] if any(w.startswith("model.block_size") for w in animal.words) else ["model.block_size=16"]
    code = small.gptforge("train", f"data={typed}", *SETTINGS, *block, *animal.words)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    runs = list(Path("runs").glob("*")) if Path("runs").exists() else []
    if not animal.fails:
        assert code == 0, said.err
        (run,) = (r for r in runs if r.is_dir())
        assert small.summary(run)["status"] == "done"
        return
    assert code == animal.exit_code, said.err
    errors = [line for line in said.err.splitlines() if line.startswith("gptforge: ")]
    message = said.err[said.err.index("gptforge: ") :]
    assert len(errors) == 1 and len(message.splitlines()) <= 8, said.err
    for words in animal.fails:
        assert words in message
    assert not runs and not list((own_cache / "tokens").glob(".tmp*"))


def test_a_file_larger_than_the_disk_is_refused_before_it_is_read(own_folder, own_cache, capsys, monkeypatch):
    with open("big.txt", "wb") as file:
        file.truncate(5 << 30)  # takes no room: it is all hole
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10 << 30, 8 << 30, 2 << 30))
    assert small.gptforge("train", "data=big.txt", *SETTINGS) == 5
    message = capsys.readouterr().err
    assert "preparing big.txt (5.4 GB) may need 16.1 GB of disk, 2.1 GB are free" in message
    assert "GPTFORGE_CACHE=OTHER/DISK/cache" in message
    with contextlib.suppress(FileNotFoundError):
        assert not list((own_cache / "tokens").iterdir())
