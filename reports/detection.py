"""Measures how well defects are found, and writes ``detection.md`` and ``ablation.md``.

    python reports/detection.py DATA WEIGHTS.safetensors [--peers PYTHON] [--only REGEX]

DATA holds data sets in the layout of MVTec AD (``bottle``, ``screw``, ``elpv``); WEIGHTS fill a
ResNet-18. Drawn parts join them. PYTHON is that of an environment with anomalib.

A cell is one method on one data set with one seed. It is measured once and kept in
``cells.json`` with a digest of the code that it depends on: the command can be stopped and goes
on. With ``--fresh`` it measures anew what was measured with other code; without, that stands.
With ``--busy`` figures of time are left out: those of a machine with other work mean nothing.
``--keep`` keeps the run folders of the default (seed 0), for ``calibration.py``; ``--worst`` draws
what they miss first, and what they reject first.
"""

import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import tables
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import anomaly_vae
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.metrics import image_metrics, pixel_metrics
from anomaly_vae.images.files import list_images
from anomaly_vae.images.regions import enlarged
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import read_images
from anomaly_vae.training.split import CALIBRATION, STOPPING, split_images
from anomaly_vae.vae.maps import unit_range
from anomaly_vae.vae.trunk import TrunkFeatures, build_features
from anomaly_vae.vae.weights import load_trunk_weights
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.truth import read_truths

HERE = Path(__file__).parent
CELLS = HERE / "cells.json"
# Whatever changes a score is in these.
CODE = (
    "settings", "config", "masks", "interest", "images", "dataset", "alignment", "features",
    "model", "architectures", "training", "scoring", "extraction", "refit", "session",
)  # fmt: skip
ONCE = ("split.folds=1", "training.refit=false")
KL_WEIGHTS = (0.0, 0.01, 0.1, 1.0)
RESCORED: dict[str, dict[str, Any]] = {
    "all places alike": {"per_place": False},
    "top 1 % of the map alone": {"whole_map": False},
    "maximum of the map alone": {"whole_map": False, "top_fraction": 0.0},
    "mean of the map alone": {"whole_map": False, "top_fraction": 1.0},
}
NEIGHBOUR_SHARE = 0.02
WORKERS = 2
WARM_TURNS = 2
TURNS = 40
NO_LIMIT = Threshold(score=0, anomaly_map=0, criterion="none", promise="", good=0)

Cell = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One row of a table."""

    name: str
    measure: Callable[[Path, int, Path], Cell]
    """Gives the figures on a data set, for a seed, with the weights of a trunk."""
    seeds: int
    sources: tuple[Path, ...]
    """The code that the figures depend on."""


def vae(settings: tuple[str, ...], keep: Path | None, data: Path, seed: int, weights: Path) -> Cell:
    """Train with the command that a user types, and measure the exported model."""
    pixels = "features.source=pixels" in settings
    with tempfile.TemporaryDirectory() as scratch:
        run = keep / data.name if keep and not settings and not seed else Path(scratch) / "run"
        command = [
            str(Path(sys.executable).with_name("anomaly-vae")), "train", str(data / "train/good"),
            "--out", str(run), "--overwrite", "--seed", str(seed), "--device", "cpu",
        ]  # fmt: skip
        command += [] if pixels else ["--features", "resnet18", "--weights", str(weights)]
        command += [word for setting in settings for word in ("--set", setting)]
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        cell: Cell = {"training_seconds": time.perf_counter() - begin}
        model = run / "model.onnx"
        inspector = Inspector(model, device="cpu")
        paths = list_images(data / "test")
        list(inspector.inspect_files(data / "test", paths[:8]))  # warm
        begin = time.perf_counter()
        findings = list(inspector.inspect_files(data / "test", paths))
        cell["images_per_second"] = len(paths) / (time.perf_counter() - begin)
        scores = np.array([finding.score for finding in findings])
        maps = np.stack([each.anomaly_map for each in findings if each.anomaly_map is not None])
        cell |= metrics(data, paths, scores, maps)
        if not settings:
            cell["cost"] = cost(model, run, data)
            cell["model_mib"] = model.stat().st_size / 2**20
            cell["trunk_mib"] = weights.stat().st_size / 2**20
            cell |= region_metrics(data, findings, inspector.card.threshold)
        if settings == ONCE:
            cell |= rescored(run, data, seed)
    return cell


def metrics(data: Path, paths: Sequence[str], scores: NDArray[Any], maps: NDArray[Any]) -> Cell:
    """Measure scores and maps with the same code, whoever computed them."""
    classes = np.array([path.split("/")[0] for path in paths])
    image = image_metrics(scores, classes, NO_LIMIT)
    worst = np.argsort(scores)
    cell: Cell = {
        "auroc": image.auroc, "average_precision": image.average_precision, "f1": image.best_f1,
        "misses": [paths[i] for i in worst if classes[i] != "good"][:10],
        "false_alarms": [paths[i] for i in worst[::-1] if classes[i] == "good"][:10],
    }  # fmt: skip
    if (data / "ground_truth").is_dir():
        settings = replace(Config().images, size=256)
        masks = read_truths(data / "test", paths, classes, settings).squares
        pixel = pixel_metrics(np.stack([enlarged(each, (256, 256)) for each in maps]), masks)
        cell |= {"pixel_auroc": pixel.auroc, "pro": pixel.pro}
    return cell


def region_metrics(data: Path, findings: Sequence[Finding], limit: Threshold) -> Cell:
    """How often a region lies on a defect, and how many lie on a good image; needs masks.

    A region is what the map of an image that does not pass has above the threshold. Where that is
    nothing, ``inspect`` reports the surroundings of the peak, which is not counted as a hit.
    """
    if not (data / "ground_truth").is_dir():
        return {}
    settings, paths = Config().images, [finding.path for finding in findings]
    classes = np.array([path.split("/")[0] for path in paths])
    masks = read_truths(data / "test", paths, classes, settings).squares
    hits = [
        bool(finding.regions)
        and finding.anomaly_map is not None
        and bool(mask[enlarged(finding.anomaly_map, settings.shape) > limit.anomaly_map].any())
        for finding, mask in zip(findings, masks, strict=True)
    ]
    good = classes == "good"
    regions = np.array([len(finding.regions) for finding in findings])
    return {
        "defects_with_region": float(np.mean(np.array(hits)[~good])),
        "regions_per_good": float(regions[good].mean()),
    }


def rescored(run: Path, data: Path, seed: int) -> Cell:
    """AUROC of the same model with other settings of the score; the model stays as it is.

    It must not have seen the images that set the scales.
    """
    config = saved_config(run)
    detector = load_detector(run, config)
    good = read_images(data / "train/good", config.images, workers=WORKERS)
    split = split_images(good, config.split, seed=seed)
    stopping, calibration = (
        parts_of_images(detector, good.chosen(split.of(part))) for part in (STOPPING, CALIBRATION)
    )
    test = read_images(data / "test", config.images, workers=WORKERS)
    parts = parts_of_images(detector, test.pixels)
    classes = np.array([path.split("/")[0] for path in test.paths])

    def auroc(share_of_error: float = 1.0, **settings: Any) -> float:
        detector.settings = replace(config.scoring, **settings)
        detector.learn_places(share_of_error * stopping[0], stopping[1])
        detector.standardise(share_of_error * calibration[0], calibration[1])
        scores = detector.join(share_of_error * parts[0], parts[1])
        return image_metrics(scores.score.numpy(), classes, NO_LIMIT).auroc

    return {
        "kl_auroc": {f"{weight:g}": auroc(kl_weight=weight) for weight in KL_WEIGHTS}
        | {"alone": auroc(0.0, kl_weight=1.0)},
        "rescored": {name: auroc(**settings) for name, settings in RESCORED.items()},
    }


class TrunkAlone(nn.Module):
    """From stored images to the maps of the trunk, and nothing else."""

    def __init__(self, features: TrunkFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the maps of the used layers of images, uint8 [N, S, S, 3]."""
        features = self.features
        return list(features.trunk(features.normalised(unit_range(images))).values())


def cost(model: Path, run: Path, data: Path) -> float:
    """Ratio of the exported model's time to that of its trunk alone; the median of paired turns."""
    config = saved_config(run)
    features = load_detector(run, config).features
    if not isinstance(features, TrunkFeatures):
        raise TypeError("only a model of a trunk has a trunk")
    images = read_images(data / "test", config.images, workers=WORKERS).pixels[:8]
    program = torch.onnx.export(
        TrunkAlone(features).eval(), (torch.from_numpy(images),), dynamo=True, verbose=False,
        opset_version=18, input_names=["images"],
    )  # fmt: skip
    if program is None:
        raise RuntimeError("the trunk was not exported")
    sessions = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"])
        for each in (model.read_bytes(), program.model_proto.SerializeToString())
    ]
    ratios: list[float] = []
    for _turn in range(WARM_TURNS + TURNS):
        times = []
        for session in sessions:
            begin = time.perf_counter()
            session.run(None, {"images": images})
            times.append(time.perf_counter() - begin)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios[WARM_TURNS:])


def nearest_neighbour(data: Path, seed: int, weights: Path) -> Cell:
    """Distance to the nearest of 2 % of all locations of good images, drawn at random."""
    config = load_config(None, ["features.source=resnet18", "features.components=0"])
    features = build_features(config.features, config.images.shape)
    if isinstance(features, TrunkFeatures):
        load_trunk_weights(features, weights)
    features.eval()

    def items(folder: Path) -> tuple[Sequence[str], Iterator[Tensor]]:
        images = read_images(folder, config.images, workers=WORKERS)
        batches = (images.pixels[i : i + 16] for i in range(0, len(images.pixels), 16))
        return images.paths, (features.raw(unit_range(torch.from_numpy(b))) for b in batches)

    rng = np.random.default_rng(seed)
    begin = time.perf_counter()
    with torch.no_grad():
        bank = []
        for batch in items(data / "train/good")[1]:
            rows = batch.flatten(0, 2)
            bank.append(rows[rng.permutation(len(rows))[: round(NEIGHBOUR_SHARE * len(rows))]])
        memory = torch.cat(bank)
        features.fit(memory.numpy())
        memory = features.standardised(memory)
        seconds = time.perf_counter() - begin
        paths, batches = items(data / "test")
        begin = time.perf_counter()
        maps = torch.cat(
            [
                torch.cdist(features.standardised(each).flatten(0, 2), memory)
                .amin(1)
                .reshape(each.shape[:3])
                for each in batches
            ]
        ).numpy()
    cell: Cell = {
        "training_seconds": seconds,
        "images_per_second": len(paths) / (time.perf_counter() - begin),
    }
    return cell | metrics(data, paths, maps.max((1, 2)), maps)


def peer(python: Path, name: str, data: Path, seed: int, weights: Path) -> Cell:
    """Fit and predict with anomalib; see ``peer.py``."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npz"
        command = [str(each) for each in (python, HERE / "peer.py", name, data, weights, out, seed)]
        subprocess.run(command, check=True, capture_output=True)
        with np.load(out) as given:
            cell: Cell = {
                "training_seconds": float(given["fit_seconds"]),
                "images_per_second": float(given["images_per_second"]),
            }
            paths = [str(path) for path in given["paths"]]
            return cell | metrics(data, paths, given["scores"], given["maps"])


def methods(peers: Path | None, keep: Path | None) -> list[Method]:
    """Name everything that is measured, the default first."""
    package = Path(anomaly_vae.__file__).parent
    ours = tuple(package / f"{name}.py" for name in CODE)
    variants: dict[str, tuple[tuple[str, ...], int]] = {
        tables.DEFAULT: ((), 3),
        tables.ONCE: (ONCE, 1),
        tables.AUTOENCODER: ((*ONCE, "model.beta=0", "scoring.kl_weight=0"), 3),
        "VAE on pixels": (("features.source=pixels",), 3),
    }
    # Trained once: that takes half the time, and compares as well.
    variants |= {
        f"{tables.ONCE}; {what}": ((*ONCE, setting), 1)
        for what, setting in (
            ("border judged, too", "features.border=0"),
            ("without whitening", "features.components=0"),
            ("all 448 components", "features.components=448"),
            ("images of 256 pixels", "images.size=256"),
            ("images of 384 pixels", "images.size=384"),
            ("hidden layers of 512", "model.hidden_size=512"),
            ("latent size 64", "model.latent_size=64"),
            ("beta 1", "model.beta=1"),
            ("hardest 10 %", "training.hardest=0.1"),
            ("no mining", "training.hardest=1"),
        )
    }
    rows = [
        Method(name, partial(vae, settings, keep), seeds, ours)
        for name, (settings, seeds) in variants.items()
    ]
    rows.append(Method("nearest neighbour, 2 % of all locations", nearest_neighbour, 1, ours[:8]))
    if peers:
        source = (HERE / "peer.py",)
        rows.append(Method("PaDiM (anomalib)", partial(peer, peers, "padim"), 1, source))
        rows.append(
            Method("PatchCore, 1 % (anomalib)", partial(peer, peers, "patchcore"), 1, source)
        )
    return rows


def main(
    data: Path,
    weights: Path,
    *,
    peers: Annotated[Path | None, typer.Option(help="Python with anomalib.")] = None,
    only: Annotated[str, typer.Option(help="Measure only cells like 'METHOD | SET | SEED'.")] = "",
    fresh: Annotated[bool, typer.Option(help="Measure anew what has older code.")] = False,
    busy: Annotated[bool, typer.Option(help="There is other work: leave times out.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for runs of the default, seed 0.")
    ] = None,
    worst: Annotated[Path | None, typer.Option(help="Folder for pictures of the worst.")] = None,
) -> None:
    """Measure what is missing, and write the tables."""
    cells: dict[str, Cell] = json.loads(CELLS.read_text()) if CELLS.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: data / name for name in tables.SETS} | {"drawn": Path(scratch) / "drawn"}
        program = str(Path(sys.executable).with_name("anomaly-vae"))
        command = [program, "samples", str(folders["drawn"])]
        subprocess.run(command, check=True, capture_output=True)
        for method in methods(peers, keep):
            code = digest(method.sources)
            for name, folder in folders.items():
                for seed in range(method.seeds):
                    key = f"{method.name} | {name} | {seed}"
                    known = cells.get(key)
                    if not re.search(only, key) or (
                        known and not (fresh and known["code"] != code)
                    ):
                        continue
                    measured = method.measure(folder, seed, weights) | {"code": code}
                    left_out = tables.TIMED if busy else ()
                    cells[key] = {k: v for k, v in measured.items() if k not in left_out}
                    CELLS.write_text(json.dumps(cells, indent=1) + "\n")
                    typer.echo(f"{key}: image AUROC {cells[key]['auroc']:.4f}")
        if worst:
            for name, folder in folders.items():
                draw_worst(cells[f"{tables.DEFAULT} | {name} | 0"], folder, worst / f"{name}.jpg")
    tables.main()


def draw_worst(cell: Cell, data: Path, path: Path) -> None:
    """Draw the defective images with the lowest scores, and the good ones with the highest."""
    figure = Figure(figsize=(20, 5), layout="constrained")
    rows = (cell["misses"], cell["false_alarms"])
    for images, row in zip(rows, figure.subplots(2, 10), strict=True):
        for image, axes in zip(images, row, strict=True):
            with Image.open(data / "test" / image) as photograph:
                axes.imshow(photograph.convert("RGB"))
            axes.set(xticks=[], yticks=[])
            axes.set_title(image, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def digest(sources: tuple[Path, ...]) -> str:
    """Identify code by its content."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


if __name__ == "__main__":
    typer.run(main)
