"""A folder of images in, a folder of results out: what ``anomaly-vae inspect`` does."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from anomaly_vae.errors import ImageReadError, InputError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.files import Stamp, stamp
from anomaly_vae.images.opening import slices_in
from anomaly_vae.images.sources import Source
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.several import Several, Wanted
from anomaly_vae.progress import Track, untracked
from anomaly_vae.remote import at
from anomaly_vae.reporting.summary import Summary
from anomaly_vae.workflows.recorder import Recorder


def take_stacks(inspectors: Sequence[Inspector], source: Source, volumes: str | None) -> None:
    """Let a model of stacks see the files of ``source`` as such.

    ``volumes`` says instead of the model which files are the slices of one (``images.volumes``).

    Raises:
        InputError: it is no model of stacks, there are several models, or photographs.
    """
    of_stacks = next((each for each in inspectors if each.card.images.slices), None)
    if of_stacks is None:
        if volumes is not None:
            raise InputError(f"--volumes: {inspectors[0].name} takes photographs, not stacks")
        return
    images, name = of_stacks.card.images, of_stacks.name
    if len(inspectors) > 1:
        raise InputError(f"--model: {name} takes stacks of slices; inspect with it alone")
    if volumes is not None:
        try:
            images = replace(images, volumes=volumes)
        except ValueError as error:
            raise InputError(f"--volumes {volumes!r}: no regular expression") from error
        of_stacks.card = replace(of_stacks.card, images=images)
    source.group(images.volumes)
    first = at(source.folder, source.first())
    with suppress(ImageReadError):  # then its row says so
        if slices_in(first, images)[1] == 1:
            raise InputError(
                f"{first}: one picture, but {name} takes stacks of {images.slices} slices: pages "
                "of a file, or files that --volumes REGEX groups"
            )


def inspect_images(
    inspector: Inspector, source: Source, recorder: Recorder, track: Track = untracked
) -> Summary:
    """Inspect the images of ``source`` and record them; what is done is not done again.

    Raises:
        OutputError: the results cannot be written.
    """
    folder, results = source.folder, recorder.results
    waiting = (path for path, now in _looked_at(source) if not results.is_done(path, now))

    def left() -> int | None:
        total = source.count()
        return None if total is None else total - results.skipped

    findings = inspector.inspect_files(folder, waiting, recorder.shows)
    for finding in track(findings, "Inspecting", left):
        if finding.image and finding.image.narrow:
            source.narrow.append(finding.path)
        recorder.record(finding)
    return recorder.finish(unlisted=source.unlisted)


def inspect_with_several(
    several: Several, source: Source, recorders: Sequence[Recorder], track: Track = untracked
) -> list[Summary]:
    """Inspect the images of ``source`` with several models, each with a recorder of its own.

    Raises:
        OutputError: the results cannot be written.
    """
    folder, all_results = source.folder, [each.results for each in recorders]

    def waiting() -> Iterator[Wanted]:
        for path, now in _looked_at(source):
            judges = several.judges(path)
            left = [each for each in judges if not all_results[each].is_done(path, now)]
            if left:
                yield path, left

    def left() -> int | None:
        total = source.count()
        if total is None:
            return None
        times = 1 if several.routed else len(recorders)
        return times * total - sum(each.skipped for each in all_results) - len(several.strays)

    findings = several.inspect_files(folder, waiting(), [each.shows for each in recorders])
    narrow: dict[str, None] = {}
    for number, finding in track(findings, "Inspecting", left):
        if finding.image and finding.image.narrow:
            narrow[finding.path] = None  # once, however many models have judged it
        recorders[number].record(finding)
    source.narrow.extend(narrow)
    for each in recorders:
        each.stop()
    return [each.finish(unlisted=source.unlisted) for each in recorders]


def _looked_at(source: Source) -> Iterator[tuple[str, Stamp | None]]:
    """Give the images with their stamps; those that cannot be looked at in time have none."""
    folder = source.folder
    # A drive may stall here, too; of what cannot be looked at in time, the reading is tried.
    seen = read_ahead(source.paths, lambda path: stamp(at(folder, path)), workers=1, ahead=1)
    return ((path, None if isinstance(now, ImageReadError) else now) for path, now in seen)


def identity(
    inspector: Inspector, source: str, mm_per_pixel: float | None = None
) -> dict[str, str]:
    """Say what may not change when an inspection is gone on with; ``source`` names the images."""
    return {
        "model": inspector.model_id,
        "source": source,
        "min_area": str(inspector.min_area),
        "mm_per_pixel": str(mm_per_pixel),
    }
