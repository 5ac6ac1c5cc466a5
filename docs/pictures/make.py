"""Makes the pictures of this folder from real runs: reports in a browser, and the table of a sweep in a terminal.

    python docs/pictures/make.py [RUN]

RUN is a run whose report is shown; without it the main job is trained first. Needs chromium, tmux and about ten
minutes on two cores. Everything but the pictures goes into a folder that is deleted.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
GPTFORGE = [sys.executable, "-m", "gptforge"]
SWEEP = ["train", "-m", "model=tiny", "data=shakespeare", "lr=1e-3,3e-3,1e-2", "model.n_layer=1,2,4", "seed=1,2"]
SWEEP += ["train.steps=400", "eval.every=50", "n_jobs=2", "hydra.sweep.dir=runs/sweep"]
COLUMNS, ROWS = 110, 26
SECONDS_INTO_IT = 60  # when the picture of the table is taken
TERMINAL = "gptforge-pictures"  # tmux's name of it
SIZE = (1200, 1500)  # pixels of a page


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium or not shutil.which("tmux"):
        sys.exit("pictures are made with chromium and tmux")
    run = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        (HERE / "sweep-table.svg").write_text(table(Path(folder)), encoding="utf-8")
        shoot(chromium, Path(folder, "runs/sweep/report.html"), "sweep-report.png")
        if run is None:
            words = ["train", "model=small", "data=shakespeare", "hydra.run.dir=runs/main"]
            subprocess.run([*GPTFORGE, *words], cwd=folder, check=True)
            run = Path(folder, "runs/main")
        shoot(chromium, run / "report.html", "run-report.png")
        shoot(chromium, run / "report.html", "run-report-dark.png", "--blink-settings=preferredColorScheme=0")


def table(folder: Path) -> str:
    """Runs the sweep in a terminal; what is on the screen in the middle of it, as SVG."""
    typed = " ".join(f"'{word}'" for word in [*GPTFORGE, *SWEEP])
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    tmux("new-session", "-d", "-s", TERMINAL, *size, "-c", str(folder), f"{typed}; echo $? > ended")
    time.sleep(SECONDS_INTO_IT)
    screen = tmux("capture-pane", "-e", "-p", "-t", TERMINAL)
    while not Path(folder, "ended").exists():
        time.sleep(1)
    console = Console(width=COLUMNS, record=True, file=open(folder / "screen", "w"), force_terminal=True)  # noqa: SIM115
    console.print(Text.from_ansi(screen.rstrip()))
    svg = console.export_svg(title=f"gptforge {' '.join(SWEEP[:7])} …")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # which would be fetched from elsewhere


def tmux(*words: str) -> str:
    return subprocess.run(["tmux", *words], check=True, capture_output=True, text=True).stdout


def shoot(chromium: str, page: Path, name: str, *flags: str) -> None:
    """A picture of the top of a page."""
    always = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
    place = [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={HERE / name}"]
    subprocess.run([chromium, *always, *place, *flags, page.resolve().as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
