"""Nasty inputs, generated: what people have on their disks, and what each must lead to.

An animal is a function that puts something into an empty folder and returns what is typed after `data=`. It declares
what must come of it: a training (`trains`), or one error message with the words given (`fails`).
"""

import gzip
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORDS = (
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards", "make"),
    *("toxic", "brew", "for", "evil", "queen", "and", "jack"),
)
POEM = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n"


@dataclass(frozen=True, slots=True)
class Animal:
    make: Callable[[Path], str]
    fails: tuple[str, ...] = ()  # words of the message; none: it trains
    words: tuple[str, ...] = ()  # what else is typed
    exit_code: int = 3

    @property
    def name(self) -> str:
        return self.make.__name__


ZOO: list[Animal] = []
MakeAnimal = Callable[[Path], str]


def trains(*words: str) -> Callable[[MakeAnimal], MakeAnimal]:
    return _animal((), words, 0)


def fails(*fragments: str, words: tuple[str, ...] = (), exit_code: int = 3) -> Callable[[MakeAnimal], MakeAnimal]:
    return _animal(fragments, words, exit_code)


def _animal(fragments: tuple[str, ...], words: tuple[str, ...], exit_code: int) -> Callable[[MakeAnimal], MakeAnimal]:
    def add(make: MakeAnimal) -> MakeAnimal:
        ZOO.append(Animal(make, fragments, words, exit_code))
        return make

    return add


def prose(n_words: int = 600, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + (".\n" if i % 9 == 8 else " ") for i in range(n_words))


def put(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# Folders and names --------------------------------------------------------------------------------------------


@fails("has no files")
def empty_folder(here: Path) -> str:
    (here / "notes").mkdir()
    return str(here / "notes")


@fails("has no text files", "2 others")
def only_binaries(here: Path) -> str:
    put(here / "a.png", b"\x89PNG\0")
    put(here / "b.exe", b"MZ\0\0")
    return str(here)


@trains()
def text_among_binaries(here: Path) -> str:
    put(here / "a.png", b"\x89PNG\0")
    put(here / "b.txt", prose())
    return str(here)


@fails("is a binary file: it has a NUL byte", "byte 6")
def nul_bytes(here: Path) -> str:
    return put(here / "a.txt", b"hello \0 world " * 100)


@trains("on_error=skip")
def nul_bytes_left_out(here: Path) -> str:
    put(here / "a.txt", b"hello \0 world " * 100)
    put(here / "b.txt", prose())
    return str(here)


@fails("is empty")
def empty_file(here: Path) -> str:
    return put(here / "a.txt", b"")


@fails("is empty")
def nothing_but_a_mark(here: Path) -> str:
    return put(here / "a.txt", b"\xef\xbb\xbf")


@trains()
def empty_files_among_others(here: Path) -> str:
    for i in range(5):
        put(here / f"{i}.txt", b"")
    put(here / "x.txt", prose())
    return str(here)


@trains()
def a_name_with_blanks_and_signs(here: Path) -> str:
    return put(here / "my notes = 1, 2 (final) [v2].txt", prose())


@trains()
def a_name_in_chinese(here: Path) -> str:
    return put(here / "唐诗 三百首.txt", prose())


@trains()
def a_name_with_quotes(here: Path) -> str:
    return put(here / 'it\'s "mine" ${x}.txt', prose())


@trains()
def a_folder_that_is_named_like_a_file(here: Path) -> str:
    put(here / "book.txt" / "one.md", prose())
    return str(here / "book.txt")


@trains()
def no_suffix(here: Path) -> str:
    return put(here / "LICENSE", prose())


@trains()
def deep_folders(here: Path) -> str:
    put(here.joinpath(*("d" * 20 for _ in range(12))) / "x.txt", prose())
    return str(here)


@trains()
def links_in_a_circle(here: Path) -> str:
    (here / "a").mkdir()
    (here / "a" / "up").symlink_to(here)
    (here / "self").symlink_to(here / "self")
    put(here / "a" / "x.txt", prose())
    return str(here)


@fails("leads nowhere")
def a_link_to_nothing(here: Path) -> str:
    (here / "x.txt").symlink_to(here / "gone.txt")
    return str(here / "x.txt")


@fails("there is no file or folder", "notes.txt")
def a_misspelt_name(here: Path) -> str:
    put(here / "notes.txt", prose())
    return str(here / "nodes.txt")


@fails("no file matches")
def a_pattern_without_files(here: Path) -> str:
    put(here / "a.txt", prose())
    return str(here / "**" / "*.md")


@trains()
def a_pattern(here: Path) -> str:
    put(here / "a" / "b" / "x.md", prose())
    return str(here / "**" / "*.md")


@fails("neither a file nor a folder")
def a_named_pipe(here: Path) -> str:
    os.mkfifo(here / "pipe.txt")
    return str(here / "pipe.txt")


@fails("cannot be read: Permission denied")
def an_unreadable_file(here: Path) -> str:
    path = put(here / "a.txt", prose())
    os.chmod(path, 0)
    return path


# Texts --------------------------------------------------------------------------------------------------------


@fails("the training part has 9 tokens", "model.block_size=8")
def too_short_for_the_context(here: Path) -> str:
    return put(here / "a.txt", "too short!")


@fails("the validation part has 1 tokens", words=("model.block_size=2",))
def too_short_to_validate(here: Path) -> str:
    return put(here / "a.txt", "too short!")


@trains()
def one_enormous_line(here: Path) -> str:
    return put(here / "a.txt", prose(200_000).replace("\n", " "))


@trains()
def only_line_feeds(here: Path) -> str:
    return put(here / "a.txt", "\n" * 5000)


@trains()
def one_character(here: Path) -> str:
    return put(here / "a.txt", "a" * 5000)


@trains()
def windows_line_ends(here: Path) -> str:
    return put(here / "a.txt", prose().replace("\n", "\r\n"))


@trains()
def old_mac_line_ends(here: Path) -> str:
    return put(here / "a.txt", prose().replace("\n", "\r"))


@trains()
def every_kind_of_space(here: Path) -> str:
    return put(here / "a.txt", "".join(w + s for w in WORDS * 9 for s in "\u00a0\u2028\u200b\ufeff\u3000\t"))


@trains()
def emoji_and_right_to_left(here: Path) -> str:
    return put(here / "a.txt", "👩‍👩‍👧‍👦 שלום عليكم 🏳️‍🌈 e\u0301 " * 200)


@trains()
def control_characters(here: Path) -> str:
    return put(here / "a.txt", "".join(chr(i) + "x" for i in range(1, 32)) * 40)


@trains()
def thousands_of_different_characters(here: Path) -> str:
    return put(here / "a.txt", "".join(chr(i) for i in range(1, 0x2000)))


# Encodings ----------------------------------------------------------------------------------------------------


@trains()
def chinese_in_gbk(here: Path) -> str:
    return put(here / "a.txt", (POEM.replace("覺曉處聞風聲", "觉晓处闻风声") * 40).encode("gb18030"))


@trains()
def chinese_in_big5(here: Path) -> str:
    return put(here / "a.txt", (POEM * 40).encode("big5"))


@trains()
def utf16_with_a_mark(here: Path) -> str:
    return put(here / "a.txt", prose().encode("utf-16"))


@trains()
def utf16_without_a_mark(here: Path) -> str:
    return put(here / "a.txt", prose().encode("utf-16-le"))


@trains()
def latin1(here: Path) -> str:
    text = prose(60) + "Überall öffnen Läden; für die Gäste gibt es Käse. "
    return put(here / "a.txt", text.encode("latin-1") * 12)


@trains()
def each_file_in_another_encoding(here: Path) -> str:
    for name, encoding in (("a", "utf-8"), ("b", "big5"), ("c", "utf-16"), ("d", "utf-8-sig")):
        put(here / f"{name}.txt", (POEM * 20).encode(encoding))
    return str(here)


@fails("is not UTF-8", "line 3", "byte 24")
def one_wrong_byte(here: Path) -> str:
    return put(here / "a.txt", "ääää\nöööö\nüüü".encode() + b"\xff" + "ü\n".encode() * 300)


@fails("too few to tell its encoding", "data.encoding=cp1252")
def one_umlaut_in_latin1(here: Path) -> str:
    return put(here / "a.txt", (prose() + "Käse").encode("latin-1"))


@trains("data.encoding=cp1252")
def one_umlaut_with_the_encoding_given(here: Path) -> str:
    return put(here / "a.txt", (prose() + "Käse").encode("latin-1"))


@fails("data.encoding=latin-99", "no text encoding that Python knows", words=("data.encoding=latin-99",), exit_code=2)
def an_encoding_that_there_is_not(here: Path) -> str:
    return put(here / "a.txt", prose())


# Rows ---------------------------------------------------------------------------------------------------------


def rows(texts: list[str], key: str = "text") -> str:
    return "".join(json.dumps({"id": i, key: t}) + "\n" for i, t in enumerate(texts))


@trains()
def jsonl(here: Path) -> str:
    return put(here / "a.jsonl", rows([prose(40, i) for i in range(30)]))


@fails("line 17 is no JSON")
def a_broken_line_of_json(here: Path) -> str:
    lines = rows([prose(40, i) for i in range(30)]).splitlines()
    return put(here / "a.jsonl", "\n".join([*lines[:16], lines[16][:-9], *lines[17:]]))


@trains("on_error=skip")
def a_broken_line_of_json_left_out(here: Path) -> str:
    return a_broken_line_of_json(here)


@fails("no key that is clearly the text", "its keys are id, title, summary", "data.text_key=title")
def json_without_a_clear_text(here: Path) -> str:
    return put(here / "a.jsonl", json.dumps({"id": 1, "title": "x", "summary": prose()}) + "\n")


@fails("line 1 has no text at 'body'", "its keys are id, text", "data.text_key=text", words=("text_key=body",))
def json_with_another_key(here: Path) -> str:
    return put(here / "a.jsonl", rows([prose()]))


@fails("line 2 has no text at 'text', but NoneType")
def json_with_a_null(here: Path) -> str:
    return put(here / "a.jsonl", rows([prose()]) + '{"text": null}\n')


@fails("line 1 is list, not an object")
def json_lists(here: Path) -> str:
    return put(here / "a.jsonl", "[1, 2]\n" * 30)


@fails("line 2 is no JSON: nested too deep")
def json_as_deep_as_the_sea(here: Path) -> str:
    return put(here / "a.jsonl", rows([prose()]) + "[" * 200_000 + "\n")


@trains()
def a_table(here: Path) -> str:
    body = "".join(f'{i},"{prose(30, i)} ""quoted"", with commas"\n' for i in range(30))
    return put(here / "a.csv", "id,text\n" + body)


@fails("has no column that is clearly the text", "its columns are a, b, c")
def a_table_without_a_clear_column(here: Path) -> str:
    return put(here / "a.csv", "a,b,c\n1,2,3\n")


@fails("line 3 has 1 columns, 'text' is missing")
def a_table_with_a_short_row(here: Path) -> str:
    return put(here / "a.csv", "id,text\n1,one\n2\n")


@fails("is no sound table")
def a_table_with_an_open_quote(here: Path) -> str:
    return put(here / "a.csv", 'id,text\n1,"never ends\n' + prose())


@trains()
def packed(here: Path) -> str:
    return put(here / "a.txt.gz", gzip.compress(prose().encode()))


@fails("cannot be unpacked")
def packed_and_cut_off(here: Path) -> str:
    return put(here / "a.txt.gz", gzip.compress(random.Random(0).randbytes(9000).hex().encode())[:5000])


@fails("cannot be unpacked", "Not a gzipped file")
def packed_in_name_only(here: Path) -> str:
    return put(here / "a.jsonl.gz", rows([prose()]))


@fails("is no parquet file")
def parquet_in_name_only(here: Path) -> str:
    return put(here / "a.parquet", b"PAR1 and nothing more")


@fails("is a page without a text")
def an_empty_page(here: Path) -> str:
    return put(here / "a.html", "<html><head></head><body></body></html>")


@trains()
def a_page(here: Path) -> str:
    return put(here / "a.html", f"<html><body><script>x=1</script><p>{prose()}</p></body></html>")
