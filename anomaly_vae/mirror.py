"""Results in a store such as ``s3://bucket/results``: written here first, and brought there last.

What a program must be able to cut off, lock and sync is no object in a store. So the results lie in
a folder of this machine while they are made; what was there before is brought here first, to go on
with.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from anomaly_vae.errors import AnomalyVAEError, OutputError
from anomaly_vae.outputs import MARKER
from anomaly_vae.remote import Remote, reason

_PROBE = ".probe"
_Facts = dict[str, tuple[int, int]]
"""Size and time of each file below a folder."""


@contextmanager
def mirrored(out: Path | None, *, known: bool) -> Iterator[Path | None]:
    """Give a folder of this machine whose files lie in ``out`` when the block ends, however.

    If ``out`` is one, that is it. Otherwise what lies there comes here first if it is ``known``,
    and is else refused. The journal is the last to go there: what is interrupted before can be
    gone on with.

    Raises:
        OutputError: the store does not take it; it stays in a folder here, which is named.
    """
    if not isinstance(out, Remote):
        yield out
        return
    here = Path(mkdtemp(prefix="anomaly-vae-"))
    try:
        with _spoken(out):
            _fetch(out, here, known=known)
        before = _facts(here)
    except BaseException:
        shutil.rmtree(here)
        raise
    try:
        yield here
    except AnomalyVAEError as error:
        raise type(error)(str(error).replace(str(here), str(out))) from error
    finally:
        with _spoken(out, f"; they are kept in {here}: copy them, or go on there with --resume"):
            _bring(here, out, before)
        shutil.rmtree(here)


def _store(out: Remote) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415

    store, path = fsspec.core.url_to_fs(str(out))
    store.invalidate_cache()
    return store, path


def _fetch(out: Remote, here: Path, *, known: bool) -> None:
    """Bring here what is there, once it is sure that something can be written there."""
    store, path = _store(out)
    if not (store.exists(path) and store.find(path)):
        store.pipe_file(f"{path}/{_PROBE}", b"\n")
        store.rm_file(f"{path}/{_PROBE}")
        return
    if not known:
        raise OutputError(
            f"{out}: is not empty; choose another --out, or give --overwrite to replace the "
            "results in it"
        )
    store.get(path.rstrip("/") + "/", f"{here}/", recursive=True)


def _bring(here: Path, out: Remote, before: _Facts) -> None:
    """Write what is new or has changed, and remove what is gone."""
    store, path = _store(out)
    now = _facts(here)
    new = sorted((each for each in now if now[each] != before.get(each)), key=_order)
    for each in new:
        store.put_file(str(here / each), f"{path}/{each}")
    for each in before.keys() - now.keys():
        store.rm_file(f"{path}/{each}")


def _order(name: str) -> int:
    """Bring first what says whose folder it is, and last what says that all else is there."""
    return 0 if name.endswith(MARKER) else 2 if "/.state/" in f"/{name}" else 1


def _facts(folder: Path) -> _Facts:
    files = ((each, each.stat()) for each in folder.rglob("*") if each.is_file())
    return {
        each.relative_to(folder).as_posix(): (facts.st_size, facts.st_mtime_ns)
        for each, facts in files
    }


@contextmanager
def _spoken(out: Remote, kept: str = "") -> Iterator[None]:
    try:
        yield
    except AnomalyVAEError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise OutputError(
            f"{out}: results cannot be written there ({reason(error)}){kept}"
        ) from error
