"""What a disk may hold after a power cut: the recorded changes of a folder, and the states that they may have left.

The disk promises no more than POSIX does. What fsync was called for is there: of a file its content, of a folder its
names. Of everything else any part may be there: a content not at all, in part, or as zeros where the length has been
written and the bytes have not; names in any order, but a rename is wholly there or not. Knows nothing of gptforge.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.storage import Change

SECTOR = 512


@dataclass(eq=False, slots=True)
class File:
    """`versions` are what it held in turn, each after one more change; the first is empty."""

    versions: list[bytes] = field(default_factory=lambda: [b""])


@dataclass(eq=False, slots=True)
class Folder:
    names: dict[str, "Node"] = field(default_factory=dict)


Node = File | Folder


@dataclass(eq=False, slots=True)
class Renaming:
    """One change of names that happens as a whole: what is taken out of folders, and what is put in."""

    out: list[tuple[Folder, str]]
    put: list[tuple[Folder, str, Node]]

    def touches(self, folder: Folder) -> bool:
        return any(place[0] is folder for place in (*self.out, *self.put))


@dataclass(frozen=True, slots=True)
class Written:
    """A file has one more version."""

    file: File
    version: int


@dataclass(frozen=True, slots=True)
class Synced:
    """fsync has come back."""

    node: Node


@dataclass(frozen=True, slots=True)
class Mark:
    """Something has been promised; nothing on the disk changes."""

    name: str


Step = Renaming | Written | Synced | Mark


class Recorder:
    """A hook for `storage.watched` that writes down what is done to an empty folder."""

    def __init__(self, root: Path) -> None:
        self.steps: list[Step] = []
        self.said: list[str] = []  # what each step is, in words
        self._root, self.top = root.resolve(), Folder()

    def mark(self, name: str) -> None:
        self._note(Mark(name), name)

    def __call__(self, change: Change) -> None:
        if change.kind == "fsync":
            self._note(Synced(self._node(change.path)), str(change))
        elif change.kind in ("write", "truncate"):
            self._written(change)
        else:
            self._named(change)

    def _note(self, step: Step, said: str) -> None:
        self.steps.append(step)
        self.said.append(said)

    def _node(self, path: Path) -> Node:
        node: Node = self.top
        for name in path.relative_to(self._root).parts:
            assert isinstance(node, Folder)
            node = node.names[name]
        return node

    def _place(self, path: Path) -> tuple[Folder, str]:
        folder = self._node(path.parent)
        assert isinstance(folder, Folder)
        return folder, path.name

    def _written(self, change: Change) -> None:
        file = self._node(change.path)
        assert isinstance(file, File)
        before = file.versions[-1]
        if change.kind == "truncate":
            after = before[: change.place].ljust(change.place, b"\0")
        else:
            end = change.place + len(change.data)
            after = before[: change.place].ljust(change.place, b"\0") + change.data + before[end:]
        file.versions.append(after)
        self._note(Written(file, len(file.versions) - 1), str(change))

    def _named(self, change: Change) -> None:
        folder, name = self._place(change.path)
        if change.kind == "open" and name in folder.names:  # it is emptied
            self._written(Change("truncate", change.path))
            return
        if change.kind in ("open", "mkdir"):
            done = Renaming([], [(folder, name, File() if change.kind == "open" else Folder())])
        elif change.kind in ("unlink", "rmdir"):
            done = Renaming([(folder, name)], [])
        else:
            assert change.target is not None
            out = [(folder, name)] if change.kind == "rename" else []
            done = Renaming(out, [(*self._place(change.target), folder.names[name])])
        _apply(done)
        self._note(done, str(change))


def _apply(done: Renaming) -> None:
    for folder, name in done.out:
        folder.names.pop(name, None)
    for folder, name, node in done.put:
        folder.names[name] = node


# States ------------------------------------------------------------------------------------------------------


def leave(recorded: Recorder, cut: int, draw: random.Random, root: Path) -> None:
    """Makes in `root` one of the states that a power cut after `cut` steps may have left."""
    done = recorded.steps[:cut]
    share = draw.choice([0.0, 0.5, 0.5, 1.0])  # of what was not made sure that has happened all the same
    top = Folder()
    tree = {id(recorded.top): top}  # the folders of the state by those of the recording, filled anew
    for step, sure in zip(done, _made_sure(done), strict=True):
        if isinstance(step, Renaming) and (sure or draw.random() < share):
            _apply(_moved(step, tree))
    _make(top, root, _versions(done), draw)


def _made_sure(done: Sequence[Step]) -> list[bool]:
    """Of each step, whether it is a change of names in a folder that was synced afterwards."""
    synced: list[Folder] = []
    found = []
    for step in reversed(done):
        if isinstance(step, Synced) and isinstance(step.node, Folder) and step.node not in synced:
            synced.append(step.node)
        found.append(isinstance(step, Renaming) and any(step.touches(folder) for folder in synced))
    return found[::-1]


def _moved(step: Renaming, tree: dict[int, Folder]) -> Renaming:
    """The same change among the folders of a new tree."""

    def own(node: Node) -> Node:
        return tree.setdefault(id(node), Folder()) if isinstance(node, Folder) else node

    def folder(node: Folder) -> Folder:
        return tree.setdefault(id(node), Folder())

    return Renaming(
        [(folder(place), name) for place, name in step.out],
        [(folder(place), name, own(node)) for place, name, node in step.put],
    )


def _versions(done: Sequence[Step]) -> dict[int, tuple[int, int]]:
    """Of each file that was written: the version that is sure, and the newest."""
    found: dict[int, tuple[int, int]] = {}
    for step in done:
        if isinstance(step, Written):
            found[id(step.file)] = found.get(id(step.file), (0, 0))[0], step.version
        elif isinstance(step, Synced) and isinstance(step.node, File) and id(step.node) in found:
            newest = found[id(step.node)][1]
            found[id(step.node)] = newest, newest
    return found


def _make(folder: Folder, place: Path, sure: dict[int, tuple[int, int]], draw: random.Random) -> None:
    place.mkdir(exist_ok=True)
    for name, node in folder.names.items():
        if isinstance(node, Folder):
            _make(node, place / name, sure, draw)
        else:
            safe, newest = sure.get(id(node), (0, 0))
            (place / name).write_bytes(_content(node, safe, newest, draw))


def _content(file: File, safe: int, newest: int, draw: random.Random) -> bytes:
    """What a file may hold that was synced at one version and written on to another."""
    content = file.versions[draw.choice([newest, draw.randint(safe, newest)])]
    old = file.versions[safe]
    same = next((n for n, (a, b) in enumerate(zip(old, content, strict=False)) if a != b), min(len(old), len(content)))
    if safe == newest or same == len(content):
        return content
    spoilt = bytearray(content)
    match draw.choice(["whole", "zeros", "zeroed tail", "cut", "holes", "holes"]):
        case "zeros":
            spoilt[same:] = bytes(len(content) - same)
        case "zeroed tail":
            begin = draw.randint(same, len(content))
            spoilt[begin:] = bytes(len(content) - begin)
        case "cut":
            del spoilt[draw.randint(same, len(content)) :]
        case "holes":
            for begin in range(same - same % SECTOR, len(content), SECTOR):
                hole = slice(max(begin, same), min(begin + SECTOR, len(content)))
                if draw.random() < 0.5:
                    spoilt[hole] = bytes(hole.stop - hole.start)
    return bytes(spoilt)
