"""Runs a model of anomalib on a folder of images; see ``detection.py``, which calls it.

It runs in an environment of its own, because anomalib pins other versions than this project:

    python -m venv peers && peers/bin/pip install anomalib[cpu]
    peers/bin/python reports/peer.py {padim|patchcore} FOLDER WEIGHTS.safetensors OUT.npz [SEED]
    peers/bin/python reports/peer.py {padim|patchcore} OUT.ckpt IMAGES

The first also leaves the fitted model beside OUT.npz; the second only predicts with it.

The trunk and its weights are the same as ours, everything else is anomalib's default, but for
PatchCore's coreset, 1 % of the patches instead of 10 % (which takes ten times as long to choose),
and for the normalisation of scores to [0, 1], which would make the extreme ones equal.
"""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import Padim, Patchcore
from lightning import seed_everything
from safetensors.torch import load_file

CORESET = 0.01


def main(name: str, folder: Path, weights: Path, out: Path, seed: int) -> None:
    """Fit on ``train/good``, predict ``test``, and save paths, scores, maps and times."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    seed_everything(seed)
    classes = sorted(entry.name for entry in (folder / "test").iterdir() if entry.is_dir())
    data = Folder(
        name=folder.name, root=folder, normal_dir="train/good", normal_test_dir="test/good",
        abnormal_dir=[f"test/{each}" for each in classes if each != "good"],
        train_batch_size=16, eval_batch_size=16, num_workers=0,
        val_split_mode="same_as_test", test_split_mode="from_dir",
    )  # fmt: skip
    model = build(name)
    load_trunk(model, weights)
    with tempfile.TemporaryDirectory() as scratch:
        engine = build_engine(scratch)
        begin = time.perf_counter()
        engine.fit(model=model, datamodule=data)
        fitted = time.perf_counter()
        batches = engine.predict(model=model, data_path=folder / "test")
        predicted = time.perf_counter()
        engine.trainer.save_checkpoint(out.with_suffix(".ckpt"))
    items = [item for batch in batches for item in batch]
    np.savez(
        out,
        paths=[Path(item.image_path).relative_to(folder / "test").as_posix() for item in items],
        scores=torch.stack([item.pred_score for item in items]).reshape(-1).numpy(),
        maps=torch.stack([item.anomaly_map.squeeze() for item in items]).numpy(),
        fit_seconds=fitted - begin,
        images_per_second=len(items) / (predicted - fitted),
    )


def predict(name: str, checkpoint: Path, images: Path) -> None:
    """Predict a folder of images with a fitted model."""
    with tempfile.TemporaryDirectory() as scratch:
        build_engine(scratch).predict(model=build(name), ckpt_path=checkpoint, data_path=images)


def build(name: str) -> Padim | Patchcore:
    """Make a model with an empty trunk."""
    if name == "patchcore":
        return Patchcore(
            backbone="resnet18", layers=["layer2", "layer3"], pre_trained=False,
            coreset_sampling_ratio=CORESET, post_processor=False,
        )  # fmt: skip
    return Padim(
        backbone="resnet18", layers=["layer1", "layer2", "layer3"], pre_trained=False,
        post_processor=False,
    )  # fmt: skip


def build_engine(scratch: str) -> Engine:
    """Make what fits and predicts."""
    return Engine(
        accelerator="cpu", devices=1, logger=False, max_epochs=1,
        default_root_dir=scratch, enable_progress_bar=False,
    )  # fmt: skip


def load_trunk(model: Padim | Patchcore, weights: Path) -> None:
    """Fill the trunk; the file may lack the layers after the last one used."""
    extractor = model.model.feature_extractor
    target = getattr(extractor, "feature_extractor", extractor)
    result = target.load_state_dict(load_file(weights), strict=False)
    missing = [key for key in result.missing_keys if not key.startswith(("layer4", "fc"))]
    if missing:
        sys.exit(f"{weights}: lacks {missing[0]}")


if __name__ == "__main__":
    chosen, first, second, *rest = sys.argv[1:]
    if rest:
        target, number = Path(rest[0]), int(rest[1]) if len(rest) > 1 else 0
        main(chosen, Path(first), Path(second), target, number)
    else:
        predict(chosen, Path(first), Path(second))
