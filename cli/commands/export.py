"""The command that writes a model again."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import Overwrite
from ..saying import warn_notes, warn_unreadable

if TYPE_CHECKING:
    from anomaly_vae.workflows.any_size import Alike
    from anomaly_vae.workflows.export import LowerModel


EXAMPLES = """
anomaly-vae export run --out press-7.onnx
anomaly-vae export run --out half.onnx --precision fp16 --good photos/more-good
anomaly-vae export run --out any.onnx --any-size --good photos/more-good
"""


class Precision(StrEnum):
    """How many bits the numbers of trunk and VAE have."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of 'train'.")],
    out: Annotated[Path, typer.Option(help="Model file to write.")],
    precision: Annotated[
        Precision,
        typer.Option(help="fp16: for GPUs. int8: smaller; without VNNI hardly faster."),
    ] = Precision.FP32,
    any_size: Annotated[
        bool,
        typer.Option(
            "--any-size", help="For other programs: takes one photograph of any size, unresized."
        ),
    ] = False,
    good: Annotated[
        Path | None,
        typer.Option(help="fp16, int8, --any-size: good images to judge it by; int8 needs them."),
    ] = None,
    defective: Annotated[
        Path | None, typer.Option(help="fp16, int8: defective images to judge it by.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export the trained model again, checked; 'train' has done so already, in fp32."""
    from anomaly_vae.exporting.parity import Parity
    from anomaly_vae.workflows.any_size import Alike
    from anomaly_vae.workflows.api import export as write

    result = write(
        run,
        out,
        precision.value,
        any_size=any_size,
        good=good,
        defective=defective,
        overwrite=overwrite,
        track=talk.track,
    )
    if isinstance(result, Alike):
        warn_notes(f"left out: {each}" for each in result.left_out)
        _say_alike(result, out, run)
    elif isinstance(result, Parity):
        talk.say(f"{out}: differs from torch by {result.largest:.1e} of a score at most")
    else:
        warn_unreadable(result.unreadable)
        warn_notes(result.notes)
        _say_lower(result, out, precision.value)


def _say_alike(result: "Alike", out: Path, run: Path) -> None:
    what = "drawn photographs (give --good DIR for real ones)" if result.drawn else "photographs"
    talk.say(
        f"{out}: on {result.photographs} {what} a score differs by {result.largest:.1e} of that of "
        "the program at most"
    )
    talk.say(f"{run / 'reference.npz'}: a photograph and what is said of it, to try a program with")


def _say_lower(result: "LowerModel", out: Path, precision: str) -> None:
    found = result.agreement
    what = "drawn images (give --good DIR to compare on real ones)" if found.drawn else "good"
    defective = f" and {found.defective} defective" if found.defective else ""
    talk.say(f"{out}: {precision}, compared with fp32 on {found.good} {what}{defective}")
    talk.say(f"  scores move by {found.largest:.2g} of max(1, |score|) at most")
    if found.rank_correlation is not None:
        talk.say(f"  rank correlation of the scores of good images: {found.rank_correlation:.4f}")
    if found.auroc is not None:
        talk.say(f"  AUROC {found.auroc:.4f}, before {found.auroc_before:.4f}")
    talk.say(f"  {found.changed} verdicts change{':' if result.changed else ''}")
    for each in result.changed:
        talk.say(
            f"    {each.verdict_before:6s} -> {each.verdict:6s}  "
            f"{each.score_before:9.3f} -> {each.score:9.3f}  {each.image}"
        )
