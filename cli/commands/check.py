"""The command that looks at photographs before any training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import MmPerPixel, Overwrite

if TYPE_CHECKING:
    from anomaly_vae.reporting.check import Check

EXAMPLES = """
anomaly-vae check photos/good
anomaly-vae check photos/good --out check --mm-per-pixel 0.05
"""
_SHOWN = 3


def check(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs of good parts.")],
    out: Annotated[Path | None, typer.Option(help="Folder for check.html and check.json.")] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=2048, help="images.size that is planned.")
    ] = None,
    mm_per_pixel: MmPerPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Look at photographs before a training: copies, sessions, odd ones, what they can promise."""
    from anomaly_vae.outputs import prepare_folder, refuse_folder
    from anomaly_vae.reporting.check import CHECKED, write_check
    from anomaly_vae.settings.images import ImageSettings
    from anomaly_vae.workflows.check import check_folder

    if out:
        refuse_folder(out, CHECKED, overwrite=overwrite)
    elif overwrite:
        raise typer.BadParameter("needed by --overwrite; expected a folder", param_hint="--out")
    settings = ImageSettings(size=size) if size else ImageSettings()
    found, looks = check_folder(
        photos, settings, mm_per_pixel=mm_per_pixel, skip=out, track=talk.track
    )
    _say(found)
    if out:
        prepare_folder(out, CHECKED, overwrite=overwrite)
        write_check(found, looks, out, settings)
        talk.say(f"to look through: {out / 'check.html'}")


def _say(found: "Check") -> None:
    sizes, kinds = (_listed(each) for each in (found.sizes, found.kinds))
    color = "colour" if found.color else "grey"
    talk.say(f"{found.photographs} photographs of {found.parts} parts or more, {color}")
    talk.say(f"  {sizes} pixels; {kinds}")
    if found.cameras:
        talk.say(f"  camera: {_listed(found.cameras)}")
    for path, reason in list(found.unreadable.items())[:_SHOWN]:
        talk.warn(f"{path} cannot be read: {reason}")
    if len(found.unreadable) > _SHOWN:
        talk.warn(f"{len(found.unreadable) - _SHOWN} more cannot be read")
    for remark in found.remarks:
        more = f" and {len(remark.paths) - _SHOWN} more" if len(remark.paths) > _SHOWN else ""
        which = f"\n    {', '.join(remark.paths[:_SHOWN])}{more}" if remark.paths else ""
        talk.say(f"{remark.topic}: {remark.text}{which}")
    if not found.remarks:
        talk.say("no copies, sessions, blurred or odd photographs found")
    mm = "" if found.smallest_mm is None else f" ({found.smallest_mm:.3g} mm)"
    talk.say(
        f"smallest defect that images.size = {found.size} shows: about {found.smallest:.0f} pixels"
        f"{mm}"
    )
    talk.say("  'train --smallest-defect' says what smaller ones take")
    talk.say(
        f"promise: at most 1 good part in {round(1 / found.promise)} rejected, from "
        f"{found.held_out} held out"
    )
    talk.say(f"go on with: {found.command}")


def _listed(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
