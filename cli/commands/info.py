"""The command that prints what a model says of itself."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import talk

EXAMPLES = """
anomaly-vae info run/model.onnx
anomaly-vae info run/model.onnx --json
"""


def info(
    model: Annotated[Path, typer.Argument(help="A model.onnx.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print what a model says of itself: formula, threshold, training data, version."""
    from anomaly_vae.calibration.metadata import card_to_dict
    from anomaly_vae.images.roi import inspected_share
    from anomaly_vae.inspection.inspector import Inspector

    inspector = Inspector(model, device="cpu")
    share = inspected_share(inspector.card.images)
    card = {
        "model_id": inspector.model_id,
        "inspected_share": round(share, 4),
        **card_to_dict(inspector.card),
    }
    if json:
        import json as json_module

        talk.say(json_module.dumps(card, indent=2))
        return
    for key, value in card.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                talk.say(f"{f'{key}.{name}':24s} {_short(name, inner)}")
        else:
            talk.say(f"{key:24s} {_short(key, value)}")


def _short(name: str, value: object) -> object:
    """Say in a few words what digests, a region of interest or many numbers are."""
    from anomaly_vae.calibration.seen import count

    if name == "inspected_share" and isinstance(value, float):
        return f"{value:.1%} of the photograph"
    if name in ("inspect", "ignore") and isinstance(value, list):
        return f"{len(value)} polygons"
    if name in ("learned_from", "set_with") and isinstance(value, str):
        return f"{count(value)} images" if value else "not known"
    if name == "roi":
        return "a mask" if value else "none"
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} numbers, {min(value):.4g} to {max(value):.4g}"
    return value
