"""Models by their names on the hub, which here is a small server of this machine."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("tokenizers")

from huggingface_hub import constants

import small
from directories import published
from gptforge.interop import hub, sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as fetching a model takes; it has one model, and one that is given to few."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        files = sorted(path.name for path in self.folder.iterdir())
        if self.path.startswith("/api/models/some/model/"):
            told = {"id": "some/model", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            if "/tree/" in self.path:
                told = [{"type": "file", "path": n, "size": (self.folder / n).stat().st_size, "oid": n} for n in files]
            if not self.path.partition("?")[0].endswith(("/main", f"/{COMMIT}", "/v1")):
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return self.answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        if self.path.startswith("/some/model/resolve/") and self.path.rpartition("/")[2] in files:
            content = (self.folder / self.path.rpartition("/")[2]).read_bytes()
            return self.answer(
                200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            )
        if "some/gated" in self.path:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def answer(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def asked(own_folder, monkeypatch):
    """What was asked of the server."""
    folder = published(256)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit('code was run')")
    handler = type("OfOne", (Hub,), {"folder": folder.absolute(), "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        place, files = f"http://127.0.0.1:{running.server_port}", "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", place)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(own_folder / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield handler.asked
        running.shutdown()


def test_a_model_is_fetched_once_and_without_pickles_or_code(asked, monkeypatch, capsys):
    assert small.gptforge("import", "some/model", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["run"].endswith("_import_model")
    assert not [path for path in asked if path.endswith((".bin", ".py")) and "resolve" in path]
    assert [path for path in asked if "safetensors" in path]
    asked.clear()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    words = ("train", "init=some/model", "data=pydoc", "dry_run=true", "runtime.threads=1")
    assert small.gptforge(*words) == 0 and not asked
    assert "imported before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("some/other", "nor a public model of that name on the hub"),
        ("some/model@v9", "the hub has no revision v9"),
        ("some/gated", "those who have agreed to its terms"),
    ],
)
def test_what_the_hub_does_not_give(asked, name, told, capsys):
    assert small.gptforge("import", name) == 2
    said = capsys.readouterr().err
    assert told in " ".join(said.split()) and len(said.splitlines()) <= 8 and not Path("runs").exists()


def test_without_a_network_it_is_said_what_to_do(asked, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert small.gptforge("import", "some/model") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "could not be fetched" in said and "gptforge import FOLDER" in said


def test_without_the_package_the_extra_is_named(own_folder, monkeypatch, capsys):
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    assert small.gptforge("import", "some/model") == 2
    assert "pip install 'gptforge[hub]'" in capsys.readouterr().err


def test_what_is_a_name(own_folder):
    Path("here").mkdir()
    names = ["a/b", "openai-community/gpt2", "a.b/c_d-1.5", "a/b@main", "a/b@refs/pr/1"]
    others = ["a", "a/b/c", "/a/b", "./a/b", "here/b", "../a", "a/", "a/b@", "a b/c", "runs/x", "a/best"]
    Path("runs").mkdir()
    assert [name for name in names + others if hub.is_name(name)] == names
    assert sources.path_of("here") == Path("here")
