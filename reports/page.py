"""Measures what ``report.html`` costs, and how soon it can be used, and writes ``page.md``.

    python reports/page.py DATA RUN_PIXELS

DATA holds ``bottle``; RUN_PIXELS is a run of ``--features pixels`` on it. Needs Chromium.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import typer
from playwright.sync_api import sync_playwright
from tables import markdown, replace_tables

PROGRAM = Path(sys.executable).with_name("anomaly-vae")
MOST, SOME = 10_000, 2_000
TURNS = 3


def linked(source: Path, folder: Path, count: int) -> Path:
    """Fill a folder with ``count`` hard links to the images of ``source``."""
    images = sorted(path for path in source.rglob("*") if path.is_file())
    folder.mkdir(parents=True)
    for number, image in enumerate(islice(cycle(images), count)):
        os.link(image, folder / f"{number:06d}{image.suffix}")
    return folder


def inspected(model: Path, folder: Path, out: Path, *options: str) -> tuple[float, float]:
    """Inspect a folder; gives seconds, and the most memory that it took, in MiB."""
    command = [PROGRAM, "-q", "inspect", model, folder, "--out", out, "--exit-zero",
               "--heatmaps", "none", *options]  # fmt: skip
    begin = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"inspect ended with {status}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def opened(page: Path) -> float:
    """Give the seconds until a browser shows the first pictures and a click has filtered them."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        begin = time.perf_counter()
        tab.goto(page.as_uri())
        tab.locator(".card img").first.evaluate("image => image.decode()")
        tab.click('[data-verdict="fail"]')
        tab.locator(".card").first.wait_for()
        seconds = time.perf_counter() - begin
        browser.close()
    return seconds


def main(data: Path, run: Path) -> None:
    """Measure, and write the table."""
    model, rows = run / "model.onnx", []
    # Hard links need the same file system: the copies lie where the links do.
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(shutil.copytree(data / "bottle" / "test", Path(scratch) / "source"))
        for count in (SOME, MOST):
            folder, out = linked(source, Path(scratch) / str(count), count), Path(scratch) / "out"
            without, _ = inspected(model, folder, out, "--no-page", "--overwrite")
            seconds, memory = inspected(model, folder, out, "--overwrite")
            page = out / "report.html"
            usable = sorted(opened(page) for _ in range(TURNS))[TURNS // 2]
            size = page.stat().st_size / 2**20
            rows.append([f"{count:,}", f"{without:.1f}", f"{seconds - without:+.1f}",
                         f"{size:.0f}", f"{memory:.0f}", f"{usable:.2f}"])  # fmt: skip
            typer.echo(" | ".join(rows[-1]))
            shutil.rmtree(out)
    head = ["images", "inspection without page, s", "the page, s", "report.html, MiB",
            "most memory, MiB", "usable in the browser after, s"]  # fmt: skip
    report = Path(__file__).with_name("page.md")
    result = {"results": markdown(head, rows)}
    report.write_text(replace_tables(report.read_text(), result))


if __name__ == "__main__":
    typer.run(main)
