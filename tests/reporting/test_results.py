"""A folder of results that can be left at any moment: the journal, the lock, going on."""

import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import OutputError
from anomaly_vae.images.files import Stamp, digest, stamp
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.journal import FILE, Done, Journal
from anomaly_vae.reporting.parquet import ParquetReport
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.rows import SCHEMA_VERSION, Report, image_row, region_rows, spelled
from anomaly_vae.reporting.tables import CsvReport
from anomaly_vae.reporting.writing import Drawing

LIMIT = Threshold(3.25, 3.25, "test", "", good=1)
ONE, TWO = Stamp(10, 1000, 1, "abc"), Stamp(20, 2000, 2, "abc")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(name.encode())
    return folder


def identity(photos: Path) -> dict[str, str]:
    return {"model": "abc", "source": str(photos)}


def found(photos: Path, path: str, score: float = 1.0) -> Finding:
    verdict = "fail" if LIMIT.score < score else "pass"
    seen = stamp(photos / path)
    assert seen
    seen = seen._replace(sha256=digest(photos / path))
    return Finding(path, verdict, score=score, stamp=seen)  # type: ignore[arg-type]


def add(results: Results, finding: Finding, drawing: Drawing | None = None) -> None:
    row = image_row(finding, model_id="abc", threshold=LIMIT, drift=0.5)
    results.add(finding, row, region_rows(finding), drawing)


@pytest.fixture(params=[CsvReport, ParquetReport])
def kind(request: pytest.FixtureRequest) -> type[Report]:
    report: type[Report] = request.param
    return report


def paths(out: Path, kind: type[Report] = CsvReport) -> list[str]:
    return [row["path"] for row in kind.rows(out)]


# --- the journal


def done(path: str, seen: Stamp | None = ONE, *, row_id: str = "", move: bool = False) -> Done:
    return Done(row_id or f"p-{spelled(path)}", path, seen, "pass", (1.0, 0.5, 0.25, 0.125), move)


def test_what_is_done_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    given = [done("a.png"), done(name), done("gone.png", None), done("m.png", TWO, move=True)]
    journal = Journal(tmp_path)
    journal.commit(given, memory=[1, 2])
    journal.close()
    journal = Journal(tmp_path)
    assert journal.known(name, ONE) == journal.known(name, None) == [given[1]]
    assert journal.known(name, TWO) == journal.known("b.png", ONE) == []
    assert journal.known("gone.png", None) == [given[2]]
    assert journal.sha256("p-m.png") == "abc"
    assert journal.facts == {"memory": [1, 2]}
    assert list(journal.statistics()) == [[(1.0, 0.5, 0.25, 0.125)] * 4]
    assert {each.id: each for each in journal.all()} == {each.id: each for each in given}
    assert journal.waiting() == [given[3]]
    journal.moved(["p-m.png"])
    assert journal.waiting() == []
    journal.close()


def test_a_path_may_name_one_photograph_after_the_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([done("a.png", ONE, row_id="p1"), done("a.png", TWO, row_id="p2")])
    assert [journal.known("a.png", each)[0].id for each in (ONE, TWO)] == ["p1", "p2"]
    journal.close()


def test_a_commit_that_fails_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([done("a.png")], memory=1)
    with pytest.raises(TypeError):
        journal.commit([done("b.png")], memory=object())
    assert journal.known("b.png", ONE) == []
    assert journal.facts == {"memory": 1}
    journal.commit([done("c.png")])
    journal.close()


def test_files_are_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([done("a.png"), done("b.png")], memory=1)
    journal.forget({"p-a.png"}, memory=2)
    assert journal.known("a.png", ONE) == []
    assert journal.known("b.png", ONE)
    assert journal.facts == {"memory": 2}
    journal.clear()
    assert journal.known("b.png", ONE) == []
    assert journal.facts == {}
    journal.close()


def test_a_damaged_journal_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(OutputError, match=r"journal\.sqlite: damaged; give --overwrite"):
        Journal(tmp_path)


def test_overwriting_replaces_a_damaged_journal(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    (out / FILE).parent.mkdir(parents=True)
    (out / FILE).write_bytes(b"no database" * 1000)
    with Results(out, photos, identity(photos), overwrite=True) as results:
        add(results, found(photos, "a.png"))
    with Results(out, photos, identity(photos), resume=True) as results:
        assert results.is_done("a.png", stamp(photos / "a.png"))


def hold(out: Path, ready: "multiprocessing.synchronize.Event") -> None:
    Journal(out)
    ready.set()
    multiprocessing.Event().wait()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    first = context.Process(target=hold, args=(tmp_path, ready))
    first.start()
    assert ready.wait(60)
    with pytest.raises(OutputError, match="another inspection writes its results here"):
        Journal(tmp_path)
    first.kill()
    first.join()
    Journal(tmp_path).close()


# --- going on


def test_what_is_done_is_not_done_again(tmp_path: Path, photos: Path, kind: type[Report]) -> None:
    out = tmp_path / "out"
    with Results(out, photos, identity(photos), report=kind) as results:
        add(results, found(photos, "a.png", 7.5))
    with Results(out, photos, identity(photos), report=kind, resume=True) as results:
        assert results.is_done("a.png", stamp(photos / "a.png"))
        assert not results.is_done("b.png", stamp(photos / "b.png"))
        assert (results.skipped, results.renewed) == (1, 0)
        add(results, found(photos, "b.png"))
        assert results.tally.verdicts == {"fail": 1, "pass": 1}
        assert results.tally.worst == [(7.5, "fail", "a.png"), (1.0, "pass", "b.png")]
    assert paths(out, kind) == ["a.png", "b.png"]


def test_rows_after_the_last_commit_are_found_again(
    tmp_path: Path, photos: Path, kind: type[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "PAUSE", 1e9)
    out = tmp_path / "out"
    results = Results(out, photos, identity(photos), report=kind)
    add(results, found(photos, "a.png"))
    results.commit()
    add(results, found(photos, "b.png"))
    tables, _, (entry,) = results._writer._state
    # On the disk, but the power fails before the journal knows.
    results._report.write(tables, [entry.image], entry.regions)
    results._writer.close()
    results._report.close()
    results._journal.close()
    assert paths(out, kind) == ["a.png", "b.png"]
    with Results(out, photos, identity(photos), report=kind, resume=True) as results:
        assert not results.is_done("b.png", stamp(photos / "b.png"))
        add(results, found(photos, "b.png"))
    assert paths(out, kind) == ["a.png", "b.png"]


def test_a_file_that_has_changed_loses_its_row(
    tmp_path: Path, photos: Path, kind: type[Report]
) -> None:
    out = tmp_path / "out"
    with Results(out, photos, identity(photos), report=kind) as results:
        for name in ("a.png", "b.png", "c.png"):
            add(results, found(photos, name, 9.0))
    (photos / "b.png").write_bytes(b"another photograph")
    (photos / "c.png").unlink()
    with Results(out, photos, identity(photos), report=kind, resume=True) as results:
        assert results.renewed == 1
        assert results.tally.verdicts == {"fail": 2}
        assert not results.is_done("b.png", stamp(photos / "b.png"))
        add(results, found(photos, "b.png"))
    assert paths(out, kind) == ["a.png", "c.png", "b.png"]


def test_tables_that_were_about_to_be_replaced_are(
    tmp_path: Path, photos: Path, kind: type[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with Results(out, photos, identity(photos), report=kind) as results:
        for name in ("a.png", "b.png"):
            add(results, found(photos, name))
    (photos / "a.png").write_bytes(b"another photograph")
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(kind, "replace", lambda _: (_ for _ in ()).throw(InterruptedError))
        Results(out, photos, identity(photos), report=kind, resume=True)
    with Results(out, photos, identity(photos), report=kind, resume=True) as results:
        assert results.tally.verdicts == {"pass": 1}
    assert paths(out, kind) == ["b.png"]


def test_tables_of_an_older_schema_are_not_gone_on_with(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("anomaly_vae.reporting.results.SCHEMA_VERSION", 1)
        with Results(out, photos, identity(photos)):
            pass
    with pytest.raises(OutputError, match=rf"another version \(1, now {SCHEMA_VERSION}\)"):
        Results(out, photos, identity(photos), resume=True)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_workbook_does_not_outlive_the_tables_it_was_made_of(
    tmp_path: Path, photos: Path, how: str
) -> None:
    out = tmp_path / "out"
    with Results(out, photos, identity(photos)) as results:
        add(results, found(photos, "a.png"))
    (out / "report.xlsx").touch()
    with pytest.raises(OutputError):
        Results(out, photos, {**identity(photos), "model": "other"}, resume=True)
    assert (out / "report.xlsx").exists()
    with Results(out, photos, identity(photos), **{how: True}):  # type: ignore[arg-type]
        assert not (out / "report.xlsx").exists()


@pytest.mark.parametrize("name", ["model", "source"])
def test_another_model_or_source_is_refused(tmp_path: Path, photos: Path, name: str) -> None:
    with Results(tmp_path / "out", photos, identity(photos)):
        pass
    with pytest.raises(OutputError, match=rf"was begun with another {name} \(.*now other\)"):
        Results(tmp_path / "out", photos, {**identity(photos), name: "other"}, resume=True)


def test_a_folder_of_something_else_is_not_gone_on_with(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").touch()
    with pytest.raises(OutputError, match="holds nothing of 'inspect' to go on with"):
        Results(out, photos, identity(photos), resume=True)
    assert [each.name for each in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("exists", [True, False])
def test_going_on_in_an_empty_folder_begins(tmp_path: Path, photos: Path, exists: bool) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    with Results(out, photos, identity(photos), resume=True) as results:
        add(results, found(photos, "a.png"))
    assert paths(out) == ["a.png"]


def test_overwriting_forgets_what_was_done_but_not_what_is_not_ours(
    tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    with Results(out, photos, identity(photos)) as results:
        add(results, found(photos, "a.png"))
    (out / "thesis.txt").touch()
    with Results(out, photos, {**identity(photos), "model": "other"}, overwrite=True) as results:
        assert not results.is_done("a.png", stamp(photos / "a.png"))
        with pytest.raises(OutputError, match="another inspection writes its results here"):
            Results(out, photos, identity(photos), overwrite=True)
    assert paths(out) == []
    assert (out / "thesis.txt").exists()


def test_what_was_found_before_a_failure_is_kept(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), Results(out, photos, identity(photos)) as results:
        add(results, found(photos, "a.png"))
        raise KeyboardInterrupt
    with Results(out, photos, identity(photos), resume=True) as results:
        assert results.tally.verdicts == {"pass": 1}


def test_rows_are_added_while_others_are_written(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CsvReport, "PAUSE", 0.0)
    free, write = Event(), CsvReport.write

    def slow(self: CsvReport, *given: Any) -> dict[str, Any]:
        assert free.wait(60)
        return write(self, *given)

    with Results(tmp_path / "out", photos, identity(photos)) as results:
        monkeypatch.setattr(CsvReport, "write", slow)
        for name in ("a.png", "b.png"):
            assert not results.is_done(name, stamp(photos / name))
            add(results, found(photos, name))
        assert paths(tmp_path / "out") == []
        assert results.tally.verdicts == {"pass": 2}
        assert results.is_done("a.png", stamp(photos / "a.png"))
        free.set()
        results.commit()
        assert paths(tmp_path / "out") == ["a.png", "b.png"]


def test_a_row_waits_for_its_picture_and_none_before_it_is_lost(
    tmp_path: Path, photos: Path
) -> None:
    def full() -> None:
        raise OutputError("no room")

    out = tmp_path / "out"
    with pytest.raises(OutputError, match="no room"), Results(out, photos, {}) as results:
        add(results, found(photos, "a.png"))
        add(results, found(photos, "b.png"), results.draw(full))
        add(results, found(photos, "c.png"))
        results.commit()
    assert paths(out) == ["a.png"]
    with Results(out, photos, {}, resume=True) as results:
        assert not results.is_done("b.png", stamp(photos / "b.png"))


def test_what_is_about_to_be_committed_is_not_done_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, begun, free = Journal(tmp_path), Event(), Event()

    def full(_facts: object) -> None:
        begun.set()
        assert free.wait(60)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal, "_note", full)
    with ThreadPoolExecutor(2) as pool:
        commit = pool.submit(journal.commit, [done("a.png")])
        assert begun.wait(60)
        known = pool.submit(journal.known, "a.png", ONE)
        wait([known], 0.2)
        free.set()
        assert known.result() == []
        assert isinstance(commit.exception(), OutputError)
    journal.close()


def test_a_journal_that_cannot_be_written_says_so(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Results(tmp_path / "out", photos, identity(photos)) as results:
        full = sqlite3.OperationalError("database or disk is full")
        monkeypatch.setattr(results._journal, "_note", lambda _: (_ for _ in ()).throw(full))
        with pytest.raises(OutputError, match=r"journal\.sqlite: cannot be written: .* is full"):
            results.commit()
        monkeypatch.undo()
