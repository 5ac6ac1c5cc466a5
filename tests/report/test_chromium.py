"""The page in a browser: nothing is fetched or complained of, it fits a phone, and its pictures answer the mouse."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gptforge.logs.drawing import DARK, LIGHT
from gptforge.report.run_files import read
from gptforge.report.run_page import run_page
from gptforge.runs import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0",
    "--virtual-time-budget=3000",
)  # fmt: skip
DARK_SCREEN = "--blink-settings=preferredColorScheme=0"
FORBIDDEN = "<script>fetch('/asked')</script><img src=/asked><p style='background: url(/asked)'>x</p></body>"
# Looks at the page in frames of several widths, and says what it finds as JSON
HARNESS = """<!DOCTYPE html><title>x</title><body><script>
const found = {};
const widths = [320, 390, 1100];
let waiting = widths.length;
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 800; frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement, shown = (x) => getComputedStyle(x).display;
    const plots = [...page.querySelectorAll("svg.plot")].map((plot) => {
      plot.scrollIntoView();
      const box = plot.getBoundingClientRect();
      const hit = page.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
      return hit && hit.closest(".at") ? box.height : 0;
    });
    const linear = page.querySelector(".either > .linear"), log = page.querySelector(".either > .log");
    const before = [shown(linear), shown(log)];
    page.querySelector("input.of-log").click();
    const long = [...page.querySelectorAll("main *")].filter((x) => x.getBoundingClientRect().right > width + 1);
    found[width] = {
      wide: root.scrollWidth, back: getComputedStyle(page.body).backgroundColor, plots, before,
      after: [shown(linear), shown(log)],
      heat: getComputedStyle(page.querySelector(".passage .heat-3, .passage .heat-4")).backgroundColor,
      sticks_out: long.filter((x) => !x.closest(".wide, pre, svg")).map((x) => x.tagName),
    };
    page.styleSheets[0].insertRule(".at:last-of-type > * { display: inline !important; }");
    found[width].under_mouse = root.scrollWidth;
    if (--waiting == 0) { document.title = "done"; document.body.textContent = JSON.stringify(found); }
  };
  document.body.append(frame);
}
</script></body>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


def browse(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the page has written to the browser's console: each error and each refusal is there."""
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(trained) -> str:
    return run_page(read(Run(trained / "runs" / "one")))


@pytest.fixture
def served(tmp_path, page) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder with the page, and the paths that were asked for."""
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    (tmp_path / "harness.html").write_text(HARNESS, encoding="utf-8")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_fetches_nothing_and_the_console_stays_empty(tmp_path, served):
    address, asked = served
    done = browse(tmp_path, "--dump-dom", f"{address}/report.html")
    assert complaints(done) == [] and "A passage, token by token" in done.stdout
    assert set(asked) <= {"/report.html", "/favicon.ico"}  # the browser's own wish, for its tab


def test_whatever_would_come_into_the_page_fetches_and_runs_nothing(tmp_path, served, page):
    """What no escaping should ever let through; without the policy it would do what it wants."""
    address, asked = served
    (tmp_path / "bad.html").write_text(page.replace("</body>", FORBIDDEN), encoding="utf-8")
    done = browse(tmp_path, "--dump-dom", f"{address}/bad.html")
    assert "/asked" not in asked and len(complaints(done)) >= 3
    policy = re.compile(r"<meta http-equiv[^>]*>")
    (tmp_path / "worse.html").write_text(policy.sub("", page).replace("</body>", FORBIDDEN), encoding="utf-8")
    browse(tmp_path, "--dump-dom", f"{address}/worse.html")
    assert "/asked" in asked


@pytest.mark.parametrize(("words", "colours"), [((), LIGHT), ((DARK_SCREEN,), DARK)], ids=["light", "dark"])
def test_it_fits_every_width_and_answers_the_mouse(tmp_path, served, words, colours):
    done = browse(tmp_path, *words, "--dump-dom", f"{served[0]}/harness.html")
    assert complaints(done) == []
    found = json.loads(re.findall(r"<body>(\{.*\})</body>", done.stdout, re.DOTALL)[0])
    assert list(found) == ["320", "390", "1100"]
    back = [int(colours["back"][i : i + 2], 16) for i in (1, 3, 5)]
    for width, seen in found.items():
        assert max(seen["wide"], seen["under_mouse"]) <= int(width), f"it is wider than {width}"
        assert seen["sticks_out"] == []
        assert [int(n) for n in re.findall(r"\d+", seen["back"])] == back
        assert seen["heat"] not in ("rgba(0, 0, 0, 0)", seen["back"])
        assert seen["before"] == ["block", "none"] and seen["after"] == ["none", "block"]
        assert len(seen["plots"]) == 6 and all(height > 100 for n, height in enumerate(seen["plots"]) if n != 1)
        assert seen["plots"][1] == 0  # the logarithmic one, which is not chosen yet


def test_a_screenshot_of_a_phone_is_no_blank_page(tmp_path, served):
    shots = [tmp_path / "light.png", tmp_path / "dark.png"]
    for shot, words in zip(shots, ((), (DARK_SCREEN,)), strict=True):
        browse(tmp_path, *words, f"--screenshot={shot}", "--window-size=390,1500", f"{served[0]}/report.html")
    sizes = [shot.stat().st_size for shot in shots]
    assert min(sizes) > 20_000 and shots[0].read_bytes() != shots[1].read_bytes()
