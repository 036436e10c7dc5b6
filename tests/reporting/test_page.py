"""The page of a report: what Python writes into it, and what a browser makes of it."""

import base64
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binomtest

from anomaly_vae.calibration.kinds import Kinds
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.profile import good_profile
from anomaly_vae.errors import FolderError
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import digest, stamp
from anomaly_vae.images.regions import find_regions
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting import gallery, page
from anomaly_vae.reporting.gallery import Gallery
from anomaly_vae.reporting.html import policy
from anomaly_vae.reporting.page import _rates
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.rows import row_id
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.marks import names_of_marked, read_marks
from anomaly_vae.workflows.recorder import Recorder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

THRESHOLD, REVIEW = 3.0, 2.0
HOSTILE = '"><img src=x onerror=alert(1)>.png'
KLS = (0.5, 1.0, 1.5)


def card(photos: Path, review: float | None = REVIEW) -> ModelCard:
    limit = Threshold(score=THRESHOLD, anomaly_map=1.0, criterion="good-only", good=40,
                      promise="at most 1 in 41", review=review)  # fmt: skip
    image = load_image(photos / "a.png", ImageSettings(size=32))
    profile = good_profile(np.linspace(-2, 4, 40), [image] * 40, kl=KLS,
                           reconstruction_error=(1.0, 2.0, 3.0))  # fmt: skip
    return ModelCard(
        images=ImageSettings(size=32), features="pixels", model="linear VAE", kl_weight=1.0,
        center=0.0, scale=2.0, threshold=limit, training_images=100, training_fingerprint="f" * 64,
        program_version="0", created="2026-01-01", good=profile, defective_scores=(2.5, 8.0, 9.0),
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (64, 48), (120, 130, 140)).save(folder / "a.png")
    return folder


def finding(photos: Path, path: str, score: float) -> Finding:
    """An image with a spot, found with a score."""
    file = photos / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        os.link(photos / "a.png", file)
    seen, image = stamp(file), load_image(file, ImageSettings(size=32))
    spot = np.zeros((8, 8), np.float32)
    spot[2:4, 4:6] = max(0.0, score / THRESHOLD)
    fails = score > THRESHOLD
    return Finding(
        path,
        "fail" if fails else "review" if score > REVIEW else "pass",
        score=score,
        reconstruction_error=score,
        kl=1.0,
        p_value=0.1,
        regions=tuple(find_regions(spot, image, 1.0)) if fails else (),
        image=image,
        anomaly_map=spot,
        stamp=seen and seen._replace(sha256=digest(file)),
    )


def expected(image: LoadedImage) -> Any:
    return np.full((32, 32, 3), 30, np.uint8)


def report(
    photos: Path, out: Path, found: dict[str, float | str], review: float | None = REVIEW
) -> Path:
    """Write the results of images, by path: a score, or why it could not be read."""
    inspector: Any = SimpleNamespace(
        card=card(photos, review), name="press", model_id="abc123", min_area=0.0, expected=expected
    )
    with Results(out, photos, {}) as results:
        recorder = Recorder(inspector, photos, results, heatmaps="none")
        for path, value in found.items():
            recorder.record(
                Finding(path, "error", error=value)
                if isinstance(value, str)
                else finding(photos, path, value)
            )
        recorder.finish()
    return out / "report.html"


def embedded(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


# ------------------------------------------------------------------------------ what Python writes


def test_rates_have_exact_intervals() -> None:
    for count, (low, high) in enumerate(_rates(20)):
        exact = binomtest(count, 20).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), rel=1e-3)


def test_nothing_is_known_of_no_images() -> None:
    assert len(_rates(0)) == 1


def test_the_policy_names_the_script_and_the_style_and_nothing_else() -> None:
    digest = base64.b64encode(hashlib.sha256(b"let x;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy("let x;", "a {}")
    assert policy("let x;", "a {}").startswith("default-src 'none'")
    assert "unsafe" not in policy("let x;", "a {}")


def test_the_page_holds_what_the_tables_hold(tmp_path: Path, photos: Path) -> None:
    file = report(photos, tmp_path / "out", {"b.png": 1.0, "c/d.png": 7.0, "e.png": "it is empty"})
    data, table = embedded(file), pd.read_csv(tmp_path / "out" / "images.csv")
    rows = {row[0]: dict(zip(page._IMAGE, row, strict=False)) for row in data["images"]}
    for row in table.to_dict("records"):
        same = rows[row["path"]]
        assert (same["verdict"], same["id"]) == (row["verdict"], row["id"])
        assert same["score"] == (None if pd.isna(row["score"]) else row["score"])
    assert [row[0] for row in data["images"]] == ["c/d.png", "e.png", "b.png"]  # the worst first
    assert [len(each) for each in data["regions"]] == [1, 0, 0]
    defects = pd.read_csv(tmp_path / "out" / "defects.csv")
    assert data["regions"][0][0] == defects[list(page._REGION)].iloc[0].tolist()


def test_every_image_that_was_read_has_its_picture(tmp_path: Path, photos: Path) -> None:
    file = report(photos, tmp_path / "out", {"b.png": 1.0, "c.png": 7.0, "e.png": "it is empty"})
    found = re.findall(r'<script type="text/plain" class="pictures">(.*?)</script>',
                       file.read_text(), re.S)  # fmt: skip
    lines = "\n".join(found).split("\n")
    assert len(lines) == 3
    assert lines[1] == ""
    with Image.open(io.BytesIO(base64.b64decode(lines[0].split(" ")[0]))) as photo:
        assert photo.size == (64, 48)  # it failed: as it is
    with Image.open(io.BytesIO(base64.b64decode(lines[2].split(" ")[0]))) as photo:
        assert photo.size == (32, 24)  # it passed: as the model saw it
    with Image.open(io.BytesIO(base64.b64decode(lines[0].split(" ")[1]))) as shown:
        values = np.asarray(shown)
    assert values.max() == 255  # 7 / 3 of the threshold, more than twice
    rows, columns = np.nonzero(values > 200)
    assert (columns.mean() / 64, rows.mean() / 48) == pytest.approx((5 / 8, 3 / 8), abs=0.03)
    with Image.open(io.BytesIO(base64.b64decode(lines[0].split(" ")[2]))) as drawn:
        assert drawn.size == (64, 48)
        assert np.abs(np.asarray(drawn).astype(int) - 30).max() <= 2
    assert lines[2].split(" ")[2] == ""  # it passed


def test_of_many_images_the_worst_are_shown(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST", 5)
    monkeypatch.setattr(page, "MOST", 5)
    scores = {f"{i}.png": float(value) for i, value in enumerate([1, 7, 2, 9, 0, 5, 3, 8, 4, 6])}
    data = embedded(report(photos, tmp_path / "out", scores))
    assert [row[2] for row in data["images"]] == [9, 8, 7, 6, 5]
    assert data["others"] == {"pass": 3, "review": 1, "fail": 1}
    with Results(tmp_path / "out", photos, {}, resume=True) as results:
        kept = [row["path"] for row in results.images() if results.picture(row["id"])]
    assert kept == [path for path, score in scores.items() if score >= 5]


def test_a_gallery_keeps_those_with_the_highest_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MOST", 2)
    pictures = Gallery([(1.0, "old"), (2.0, "older")])
    assert not pictures.takes(0.5)
    for name, score, kept in (("b", 1.5, True), ("c", 1.2, False), ("d", 4.0, True)):
        assert pictures.takes(score) == kept  # c comes too late
        if kept:
            pictures.keep(name, score, enlarged=False)
    assert pictures.dropped == {"old", "b"}


def test_pictures_outlive_an_interruption_and_go_with_their_rows(
    tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    report(photos, out, {"b.png": 1.0, "c.png": 7.0})
    (photos / "c.png").unlink()
    Image.new("RGB", (64, 48)).save(photos / "c.png")  # another photograph of that name
    ids = dict(pd.read_csv(out / "images.csv")[["path", "id"]].values)
    with Results(out, photos, {}, resume=True) as results:
        assert results.picture(ids["b.png"])
        assert results.picture(ids["c.png"]) is None
    with Results(out, photos, {}, overwrite=True) as results:
        assert results.picture(ids["b.png"]) is None


def test_the_page_of_a_part_is_gone_while_there_is_more(tmp_path: Path, photos: Path) -> None:
    file = report(photos, tmp_path / "out", {"b.png": 1.0})
    with Results(tmp_path / "out", photos, {}, resume=True):
        assert not file.exists()


def test_names_that_are_not_utf8_give_a_page_too(tmp_path: Path, photos: Path) -> None:
    folder = photos.rename(tmp_path / os.fsdecode(b"raw\xff"))
    text = report(folder, tmp_path / "out", {"b.png": 1.0}).read_text(encoding="utf-8")
    assert r"raw\xff" in text


def test_no_page_is_written_where_none_is_wanted(tmp_path: Path, photos: Path) -> None:
    inspector: Any = SimpleNamespace(
        card=card(photos), name="press", model_id="abc123", min_area=0.0, expected=expected
    )
    with Results(tmp_path / "out", photos, {}) as results:
        recorder = Recorder(inspector, photos, results, heatmaps="none", page=False)
        recorder.record(finding(photos, "b.png", 1.0))
        recorder.finish()
        assert results.picture(row_id(finding(photos, "b.png", 1.0))) is None
    assert not (tmp_path / "out" / "report.html").exists()


def two_of_a_name(photos: Path, out: Path) -> Path:
    """Write the results of a watched folder in which a name was used twice."""
    inspector: Any = SimpleNamespace(
        card=card(photos), name="press", model_id="abc123", min_area=0.0, expected=expected
    )
    with Results(out, photos, {}, renew=False) as results:
        recorder = Recorder(inspector, photos, results, heatmaps="defects")
        first = finding(photos, "live.png", 7.0)
        # The next one is there before the picture of the first is drawn.
        (photos / "live.png").unlink()
        Image.new("RGB", (64, 48), (10, 10, 10)).save(photos / "live.png")
        recorder.record(first)
        recorder.record(finding(photos, "live.png", 1.0))
        recorder.finish()
    return out / "report.html"


def test_photographs_of_one_name_have_their_own_rows_pictures_and_regions(
    tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    data = embedded(two_of_a_name(photos, out))
    rows, defects = (pd.read_csv(out / f"{name}.csv") for name in ("images", "defects"))
    assert list(rows.path) == ["live.png", "live.png"]
    assert rows.id.is_unique
    assert list(defects.id) == [rows.id[0]]  # of the one that failed
    assert [path.name for path in (out / "heatmaps").iterdir()] == [f"live.png.{rows.id[0]}.jpg"]
    assert [len(each) for each in data["regions"]] == [1, 0]
    lines = re.findall(r'class="pictures">(.*?)</script>', (out / "report.html").read_text(), re.S)
    for line, light in zip("\n".join(lines).split("\n"), (130, 10), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(line.split(" ")[0]))) as photo:
            assert np.asarray(photo).mean() == pytest.approx(light, abs=3)
    assert data["images"][1][-1] == hashlib.sha256((photos / "live.png").read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------- marks


def write_marks(folder: Path, text: str) -> Path:
    (folder / "marks.csv").write_text(text, encoding="utf-8")
    return folder / "marks.csv"


def test_marks_say_which_images_are_good_and_which_are_not(tmp_path: Path, photos: Path) -> None:
    (photos / "b.png").write_bytes(b"")
    table = write_marks(tmp_path, "path,mark,score\r\na.png,good,1\r\nb.png,defect,9\r\n")
    good, defective = read_marks(table, photos)
    assert defective
    assert (good.listed(), defective.listed()) == (("a.png",), ("b.png",))


def test_marks_of_good_images_alone_are_enough(tmp_path: Path, photos: Path) -> None:
    assert read_marks(write_marks(tmp_path, "path,mark\na.png,good\n"), photos)[1] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,mark\na.png,good\n", "columns mark and path"),
        ("path,mark\na.png,fine\n", "expected good or defect"),
        ("path,mark\ngone.png,good\n", "not there; give the folder"),
        ("path,mark\na.png,defect\n", "marks no image as good"),
    ],
)
def test_marks_that_are_none_are_refused(
    tmp_path: Path, photos: Path, text: str, says: str
) -> None:
    with pytest.raises(FolderError, match=says):
        read_marks(write_marks(tmp_path, text), photos)


# --------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("needs a Chromium browser (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: "Browser") -> Iterator[Any]:
    """Opens a file, and at the end makes sure that it kept quiet."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab, noise = context.new_page(), list[str]()
    # Chromium says so when a dialog opens before it has given up the focus of the one before.
    harmless = "Autofocus processing was blocked"
    tab.on("console", lambda message: message.text.startswith(harmless)
           or noise.append(f"console: {message.text}"))  # fmt: skip
    tab.on("pageerror", lambda error: noise.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (noise.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:"))
           or noise.append(f"request: {request.url}"))  # fmt: skip

    def open_file(file: Path) -> "Page":
        tab.goto(file.as_uri())
        return tab

    yield open_file
    context.close()
    assert noise == []


def counts(tab: "Page") -> dict[str, int]:
    return {
        name: int(tab.text_content(f'[data-count="{name}"]') or "")
        for name in ("pass", "review", "fail", "error")
    }


@pytest.fixture
def many(tmp_path: Path, photos: Path) -> Path:
    rng = np.random.default_rng(0)
    scores = {f"{'scratch' if i % 3 else 'good'}/{i:04d}.png": float(value)
              for i, value in enumerate(rng.normal(1, 2, 300))}  # fmt: skip
    return report(photos, tmp_path / "out", {**scores, "broken.png": "it is empty"})


def test_the_page_opens_with_the_counts_of_the_table(many: Path, opened: Any) -> None:
    tab = opened(many)
    table = pd.read_csv(many.with_name("images.csv"))
    expected = table["verdict"].value_counts().to_dict()
    assert {name: count for name, count in counts(tab).items() if count} == expected
    assert tab.locator(".card").count() > 10
    assert tab.locator(".card").count() < 100  # what is not in view does not exist
    photo = tab.locator(".card img").first
    assert photo.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64


@pytest.mark.parametrize("review", [REVIEW, None])
def test_dragging_the_threshold_judges_as_the_table_would(
    tmp_path: Path, photos: Path, opened: Any, review: float | None
) -> None:
    scores = {f"{i:03d}.png": float(value) for i, value in enumerate(np.linspace(-2, 30, 90))}
    tab = opened(report(photos, tmp_path / "out", scores, review))
    table = pd.read_csv(tmp_path / "out" / "images.csv")
    box = tab.locator("#histogram").bounding_box()
    for place in (0.35, 0.6, 0.85):
        tab.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
        tab.mouse.down()
        tab.mouse.move(box["x"] + place * box["width"], box["y"] + 50, steps=5)
        tab.mouse.up()
        tab.wait_for_timeout(50)
        limit = float(tab.input_value("#limit"))
        fail = (table["score"] > limit).sum()
        band = (
            0 if review is None else ((table["score"] > review) & (table["score"] <= limit)).sum()
        )
        found = counts(tab)
        assert (found["fail"], found["review"]) == (fail, band)
        assert sum(found.values()) == len(table)
        good = (np.linspace(-2, 4, 40) > limit).sum()
        assert f"{good} of 40 held-out good images would be rejected" in tab.text_content("#rates")
    assert len({limit, THRESHOLD}) == 2
    tab.click("#reset")
    tab.wait_for_timeout(50)
    assert counts(tab)["fail"] == (table["score"] > THRESHOLD).sum()


def test_known_defects_that_would_escape_are_counted(many: Path, opened: Any) -> None:
    tab = opened(many)
    assert "1 of 3 known defects would not fail" in tab.text_content("#rates")
    tab.fill("#limit", "8.5")
    tab.wait_for_timeout(50)
    assert "2 of 3 known defects would not fail" in tab.text_content("#rates")


def of_kinds(photos: Path, out: Path) -> Path:
    """Write the results of a model that tells kinds apart."""
    kinds = Kinds(
        names=("dent", "scratch"), examples=(5, 5), means=((1.0, 0.0), (0.0, 1.0)), spread=1.0,
        sharpness=1.0, limit=1.0, left_out=((5, 0, 0), (0, 5, 0)), right=10, strangers=(5, 5),
    )  # fmt: skip
    inspector: Any = SimpleNamespace(
        card=replace(card(photos), kinds=kinds), name="press", model_id="abc123", min_area=0.0,
        expected=expected,
    )  # fmt: skip
    with Results(out, photos, {}) as results:
        recorder = Recorder(inspector, photos, results, heatmaps="none")
        for path, kind, probability in (
            ("b.png", "dent", 0.75), ("c.png", "scratch", 0.9), ("d.png", "unknown", math.nan),
        ):  # fmt: skip
            found = finding(photos, path, 7.0)
            (region,) = found.regions
            region = replace(region, kind=kind, kind_probability=probability)
            recorder.record(replace(found, regions=(region,)))
        recorder.finish()
    return out / "report.html"


def test_kinds_are_shown_filtered_and_named(tmp_path: Path, photos: Path, opened: Any) -> None:
    tab = opened(of_kinds(photos, tmp_path / "out"))
    for kind, path in (("dent", "b.png"), ("unknown", "d.png"), ("scratch", "c.png")):
        tab.select_option("#kind", kind)
        assert tab.locator(".card bdi").all_text_contents() == [path]
    tab.locator(".card").click()
    assert tab.locator("#regions td").all_text_contents()[-1] == "scratch 0.9"
    assert not tab.is_visible("#kind-name")
    tab.keyboard.press("f")
    tab.fill("#kind-name", "crack, long")
    tab.press("#kind-name", "Enter")
    tab.press("#kind-name", "f")  # a letter of a name, and no mark taken back
    tab.fill("#kind-name", "crack, long")
    tab.click("#close")
    assert tab.locator(".card .mark").text_content() == "crack, long"
    offered = tab.locator("#kind-names option").evaluate_all("all => all.map(each => each.value)")
    assert offered == ["crack, long", "dent", "scratch"]
    with tab.expect_download() as download:
        tab.click("#download")
    download.value.save_as(tmp_path / "marks.csv")
    assert names_of_marked(tmp_path / "marks.csv", photos) == {"c.png": "crack, long"}
    tab.reload()
    assert tab.locator(".card .mark").text_content() == "crack, long"


def test_filters(many: Path, opened: Any) -> None:
    tab = opened(many)
    table = pd.read_csv(many.with_name("images.csv"))

    def found() -> int:
        return int(re.match(r"\d+", tab.text_content("#found"))[0])  # type: ignore[index]

    assert found() == len(table)
    tab.click('[data-verdict="fail"]')
    assert found() == (table["verdict"] == "fail").sum()
    tab.select_option("#class", "good")
    fails = table[(table["verdict"] == "fail") & table["path"].str.startswith("good/")]
    assert found() == len(fails)
    tab.fill("#area", str(fails["defect_area"].median()))
    defects = pd.read_csv(many.with_name("defects.csv")).groupby("path")["area"].max()
    largest = fails["path"].map(defects)
    assert found() == (largest >= fails["defect_area"].median()).sum() < len(fails)
    tab.fill("#area", "")
    tab.fill("#search", "00")
    assert found() == fails["path"].str.contains("00").sum()
    tab.click('[data-verdict=""]')
    tab.select_option("#class", "")
    tab.fill("#search", "nothing is called this")
    assert found() == 0
    assert tab.locator(".card").count() == 0


def test_sorting(many: Path, opened: Any) -> None:
    tab = opened(many)
    table = pd.read_csv(many.with_name("images.csv")).dropna(subset="score")
    first = ".card small"
    tab.click('[data-verdict="pass"]')
    passed = table[table["verdict"] == "pass"]
    for order, path in (
        ("worst", passed.loc[passed["score"].idxmax(), "path"]),
        ("best", passed.loc[passed["score"].idxmin(), "path"]),
        ("path", passed["path"].min()),
    ):
        tab.select_option("#order", order)
        assert tab.locator(first).first.text_content() == path


def test_keys_move_open_and_mark(many: Path, tmp_path: Path, opened: Any) -> None:
    tab = opened(many)
    table = pd.read_csv(many.with_name("images.csv"))
    worst = table.dropna(subset="score").sort_values("score", ascending=False)["path"].tolist()
    tab.select_option("#order", "worst")
    tab.click('[data-verdict="fail"]')
    tab.keyboard.press("ArrowRight")  # the first
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".card.current small").text_content() == worst[1]
    tab.keyboard.press("Enter")
    assert tab.text_content("#name") == worst[1]
    assert tab.locator("#boxes rect").count() == 1
    tab.keyboard.press("f")
    assert tab.get_attribute("#mark-defect", "aria-pressed") == "true"
    tab.keyboard.press("ArrowRight")
    assert tab.text_content("#name") == worst[2]
    tab.keyboard.press("p")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("p")
    tab.keyboard.press("p")  # taken back
    tab.keyboard.press("Escape")
    assert not tab.locator("#viewer").is_visible()
    with tab.expect_download() as download:
        tab.click("#download")
    download.value.save_as(tmp_path / "marks.csv")
    marks = pd.read_csv(tmp_path / "marks.csv")
    assert marks[["path", "mark"]].values.tolist() == [[worst[1], "defect"], [worst[2], "good"]]
    good, defective = read_marks(tmp_path / "marks.csv", many.parents[1] / "photos")
    assert (good.paths, defective and defective.paths) == ((worst[2],), (worst[1],))
    tab.reload()  # marks are kept
    assert tab.text_content("#marked") == "2"
    assert "1 of 1 images marked as good would fail" in tab.text_content("#rates")


def test_marks_are_of_one_photograph_of_one_report(
    tmp_path: Path, photos: Path, opened: Any
) -> None:
    first = two_of_a_name(photos, tmp_path / "first")
    tab = opened(first)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("f")
    assert tab.locator(".mark").count() == 1  # not on the other photograph of that name
    with tab.expect_download() as download:
        tab.click("#download")
    download.value.save_as(tmp_path / "marks.csv")
    with pytest.raises(FolderError, match="is not the photograph that was marked"):
        read_marks(tmp_path / "marks.csv", photos)
    opened(report(photos, tmp_path / "second", {"live.png": 7.0}))
    assert tab.text_content("#marked") == "0"


def test_the_large_view_says_why(many: Path, opened: Any) -> None:
    tab = opened(many)
    tab.click('[data-verdict="fail"]')
    tab.locator(".card").first.click()
    assert tab.text_content("#verdict").startswith("✕ fail, score ")
    why = tab.text_content("#why")
    score = pd.read_csv(many.with_name("images.csv"))["score"].max()
    # The median good image has a reconstruction error of 2 and a KL of 1; the scale is 2.
    assert f"adds {(score - 2) / 2:.3g} to the score and the KL divergence 0" in why
    # The spot covers columns 4 to 5 and rows 2 to 3 of 8 x 8 on 64 x 48 pixels.
    x, y = map(float, re.search(r"x ([\d.]+), y ([\d.]+)", why).groups())  # type: ignore[union-attr]
    assert (x, y) == pytest.approx((40, 18), abs=1)
    assert tab.locator(".part").count() == 3
    assert "more than all 3 good images" in tab.locator(".part").first.text_content()
    tab.wait_for_function("document.getElementById('map').width > 300")
    painted = tab.evaluate("""() => {
      const canvas = document.getElementById('map');
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const at = (x, y) => pixels[4 * (Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width)) + 3];
      return [at(5 / 8, 3 / 8), at(0.1, 0.1)];
    }""")
    assert painted[0] > 150
    assert painted[1] == 0
    dark = """() => createImageBitmap(document.getElementById('photo')).then((bitmap) => {
      const canvas = new OffscreenCanvas(1, 1);
      const ink = canvas.getContext('2d');
      ink.drawImage(bitmap, 0, 0);
      return ink.getImageData(0, 0, 1, 1).data[0] < 60;
    })"""
    assert not tab.evaluate(dark)
    tab.keyboard.press("e")
    tab.wait_for_timeout(100)
    assert tab.evaluate(dark)
    tab.keyboard.press("e")
    tab.keyboard.press("o")
    assert not tab.locator("#map").is_visible()
    tab.keyboard.press("r")
    assert not tab.locator("#boxes").is_visible()


def test_an_unreadable_image_says_why_it_is(many: Path, opened: Any) -> None:
    tab = opened(many)
    tab.click('[data-verdict="error"]')
    tab.locator(".card").first.click()
    assert tab.text_content("#why") == "it is empty"


def test_hostile_names_are_shown_and_run_nothing(tmp_path: Path, photos: Path, opened: Any) -> None:
    names = {HOSTILE: 9.0, "</script><script>alert(2)</script>.png": 8.0, "a&lt;b'\".png": 7.0}
    images = {name.replace("/", "_"): score for name, score in names.items()}
    folder = photos.rename(tmp_path / "<img src=x onerror=alert(3)>")
    tab = opened(report(folder, tmp_path / "out", images))
    shown = [tab.locator(".card small").nth(i).text_content() for i in range(3)]
    assert shown == list(images)
    tab.locator(".card").first.click()
    assert tab.text_content("#name") == HOSTILE
    assert "<img src=x onerror=alert(3)>" in tab.text_content("h1")
    assert tab.locator("img[src=x]").count() == 0


def test_an_added_script_does_not_run(many: Path, browser: "Browser") -> None:
    text, script = many.read_text("utf-8"), "<script>document.title = 1</script>"
    many.write_text(text.replace("</main>", f"</main>{script}"), "utf-8")
    tab, refusals = browser.new_page(), list[str]()
    tab.on("console", lambda message: refusals.append(message.text))
    tab.goto(many.as_uri())
    assert tab.title().startswith("Inspection of")
    assert len(refusals) == 1
    assert "Content Security Policy" in refusals[0]
    tab.close()


def test_on_paper_stand_those_that_did_not_pass(many: Path, opened: Any) -> None:
    tab = opened(many)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    table = pd.read_csv(many.with_name("images.csv"))
    expected = min(100, (table["verdict"] != "pass").sum())
    assert tab.locator("#print figure").count() == expected


def test_a_folder_without_images_gives_a_page_too(
    tmp_path: Path, photos: Path, opened: Any
) -> None:
    tab = opened(report(photos, tmp_path / "out", {}))
    assert counts(tab) == {"pass": 0, "review": 0, "fail": 0, "error": 0}
    tab.keyboard.press("ArrowRight")
