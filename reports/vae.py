"""Checks what the literature says of VAEs on models of this program, and writes ``vae.md``.

    python reports/vae.py DATA WEIGHTS.safetensors --work DIR

DATA holds ``bottle`` in the layout of MVTec AD; in the features of a ResNet-18 with WEIGHTS,
samples are compared. The digits of scikit-learn and the drawn parts of the demo join. Trainings are
kept in DIR, so that the command can be stopped and goes on.

Letters: N images, S x S pixels, F features, D latent dimensions, B betas.
"""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import markdown, replace_tables
from torch import Tensor

from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.latent.information import measure
from anomaly_vae.latent.restoration import restore
from anomaly_vae.latent.space import Pictures, as_seen, decode, encode
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.files import load_config, model_names
from anomaly_vae.training.dataset import read_images
from anomaly_vae.training.split import CALIBRATION, TRAINING, split_images
from anomaly_vae.vae.alignment import warp
from anomaly_vae.vae.maps import unit_range
from anomaly_vae.vae.model import sample
from anomaly_vae.vae.sampling import draw_from_mixture, fit_mixture, linear_path
from anomaly_vae.vae.trunk import TrunkFeatures, build_features
from anomaly_vae.vae.weights import load_trunk_weights
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.truth import read_truths

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
BETAS, SEEDS = (0.0, 0.5, 1.0, 4.0), 3
ERRORS = ("learned", "pixel_error")
PAIRS, FRAMES, IMPORTANCE_SAMPLES = 20, 9, 500
# Half the default's steps: what differs between betas has shown by then.
SHORTER = ("training.epochs=16", "training.batch_size=16", "training.kl_warmup=0.2")
COLLAPSED = ("model.beta=64", "training.kl_warmup=0")
CURES = {
    "collapsed on purpose": (),
    "free bits": ("training.free_bits=0.2",),
    "capacity": ("training.capacity=10",),
    "beta 1, warm-up": ("model.beta=1", "training.kl_warmup=0.5"),
}
_SIDE = 224

Features = NDArray[np.float64]
See = Callable[[Pictures], Features]


@dataclass(frozen=True)
class Study:
    """Good images, and the model of the literature that learns from them."""

    name: str
    good: Path
    model: str
    settings: tuple[str, ...] = ()

    def sweep(self, out: Path, vary: str, *more: str, seeds: int = SEEDS) -> pd.DataFrame:
        """Train what is not trained yet; gives a row per training."""
        call("sweep", self.good, "--out", out, "--resume", "--config", self.model, "--vary", vary,
             "--seeds", seeds, "--device", "cpu", *assigned(self.settings, more))  # fmt: skip
        return pd.read_csv(out / "sweep.csv")


def call(*words: object) -> None:
    """Run the program as a user does."""
    subprocess.run([PROGRAM, "-q", *map(str, words)], check=True)


def assigned(*settings: Sequence[str]) -> list[str]:
    """Spell settings as options."""
    return [word for each in settings for setting in each for word in ("--set", setting)]


def write_digits(folder: Path) -> Path:
    """Write the 1,797 digits of scikit-learn (8 x 8, 17 grey levels) as images of 28 x 28."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, digit in enumerate(load_digits().images):
            grey = Image.fromarray((digit * 255 / 16).astype(np.uint8))
            grey.resize((28, 28), Image.Resampling.BILINEAR).save(folder / f"{number:04d}.png")
    return folder


def studies_of(data: Path, work: Path) -> list[Study]:
    """Give the digits, bottles and drawn parts; they are written into ``work`` at first."""
    digits = Study("digits", write_digits(work / "images-digits"), "kingma-welling")
    parts = work / "images-drawn"
    if not parts.is_dir():
        call("samples", parts)
    bottle = Study("bottle", data / "bottle/train/good", "convolutional", SHORTER)
    drawn = Study("drawn", parts / "train/good", "convolutional", SHORTER)
    return [digits, bottle, drawn]


def orders(studies: Sequence[Study], work: Path) -> tuple[str, dict[str, pd.DataFrame]]:
    """Reconstruction error and KL over beta: the one rises, the other falls."""
    rows, runs = [], {}
    for study in studies:
        table = study.sweep(work / study.name, f"model.beta={','.join(map(str, BETAS))}")
        folders = (work / study.name / "runs" / run for run in table["run"])
        table["learned"] = [measure(*opened(each, TRAINING)).pixel_error for each in folders]
        runs[study.name] = table
        measures = table.groupby("model.beta")[["learned", "pixel_error", "kl", "active_latents"]]
        means, spreads = measures.mean(), measures.std()
        for beta in BETAS:
            mean, spread = means.loc[beta], spreads.loc[beta]
            errors = (f"{1e3 * mean[k]:.3f} ± {1e3 * spread[k]:.3f}" for k in ERRORS)
            name = "autoencoder" if beta == 0 else f"beta {beta:g}"
            rows.append([f"`{study.name}`", name, *errors, f"{mean['kl']:.1f}",
                         f"{mean['active_latents']:.0f}"])  # fmt: skip
        rising = (in_order(np.diff(means[key]) > 0) for key in ERRORS)
        falling = in_order(np.diff(means["kl"]) < 0)
        rows.append([f"`{study.name}`", "**in order?**", *rising, falling, ""])
    head = ["images", "", "error, images learned from", "error, held out", "KL, nats",
            "active latents"]  # fmt: skip
    return markdown(head, rows), runs


def in_order(steps: NDArray[np.bool_]) -> str:
    """Say how many steps go in the right direction."""
    return "yes" if steps.all() else f"{steps.sum()} of {len(steps)} steps"


def collapses(study: Study, work: Path) -> str:
    """Produce a collapsed posterior on purpose, and cure it."""
    rows = []
    for number, (name, cure) in enumerate(CURES.items()):
        out = work / f"{study.name}-collapse-{number}"
        if not (out / "model.onnx").is_file():
            call("train", study.good, "--out", out, "--overwrite", "--config", study.model,
                 "--device", "cpu", *assigned(study.settings, COLLAPSED, cure))  # fmt: skip
        use = json.loads((out / "training.json").read_text())["latents"]
        rows.append([
            name, f"`{' '.join((*COLLAPSED, *cure))}`", f"{use['kl']:.2f}",
            f"{use['active']} of {use['dimensions']}", f"{use['mutual_information']:.2f}",
            "warns" if use["advice"] else "-",
        ])  # fmt: skip
    head = ["", "settings", "KL, nats", "active latents", "mutual information, nats", "`train`"]
    return markdown(head, rows)


def opened(run: Path, part: str = CALIBRATION) -> tuple[Detector, Pictures]:
    """Give the model of a run, and good images of it: by default some it has not learned from."""
    config = saved_config(run)
    folder = Path(json.loads((run / "training.json").read_text())["folder"])
    images = read_images(folder, config.images, workers=2)
    split = split_images(images, config.split, seed=config.training.seed)
    return load_detector(run, config).eval(), images.pixels[split.of(part)]


def seen_by_trunk(weights: Path) -> See:
    """Give a function that describes pictures by the mean of each channel of a trunk, [N, F]."""
    config = load_config(
        None, ["features.source=resnet18", "features.components=0", f"images.size={_SIDE}"]
    )
    features = build_features(config.features, (_SIDE, _SIDE))
    assert isinstance(features, TrunkFeatures)  # noqa: S101 - the default is one
    load_trunk_weights(features, weights)
    features.eval()

    def see(pictures: Pictures) -> Features:
        large = np.stack([
            np.asarray(Image.fromarray(each).resize((_SIDE, _SIDE))) for each in pictures
        ])  # fmt: skip
        with torch.no_grad():
            means = [
                features.raw(unit_range(torch.from_numpy(large[i : i + 16]))).mean((1, 2))
                for i in range(0, len(large), 16)
            ]
        found: Features = torch.cat(means).double().numpy()
        return found

    return see


def sampled(study: Study, runs: pd.DataFrame, work: Path, see: See) -> list[list[list[str]]]:
    """Compare samples of autoencoder and VAE with good images that neither has seen.

    Gives rows of two tables: kernel distances, and how well samples are told apart.
    """
    distances, apart = [], []
    for beta, name in ((0.0, "autoencoder"), (1.0, "VAE, beta 1")):
        found = [
            compared(work / study.name / "runs" / run, see)
            for run in runs[runs["model.beta"] == beta]["run"]
        ]
        means = np.mean(found, axis=0)  # [origins, measures]
        first = [f"`{study.name}`", name]
        distances.append(first + [f"{value:.3f}" for value in means[:, 0]])
        apart.append(first + [f"{value:.3f}" for value in means[:, 1:].ravel()])
    return [distances, apart]


def compared(run: Path, see: See) -> list[list[float]]:
    """Compare samples from the prior, and from where training images lie: a row for each.

    With held-out photographs by kernel distance, by a classifier, and at 8 x 8 pixels; and by a
    classifier with what the model itself makes of those photographs.
    """
    detector, held_out = opened(run)
    held_out = held_out[:200]
    mixture = fit_mixture(encode(detector, opened(run, TRAINING)[1]).mean)
    real = as_seen(detector, held_out)
    seen, redrawn = see(real), see(decode(detector, encode(detector, held_out).mean))
    rows = []
    for z in (
        detector.model.draw_prior(len(held_out), temperature=1.0, seed=0),
        draw_from_mixture(mixture, len(held_out), temperature=1.0, seed=0),
    ):
        drawn = decode(detector, z)
        samples = see(drawn)
        rows.append([
            kernel_distance(seen, samples),
            told_apart(seen, samples),
            neighbours_alike(coarse(real), coarse(drawn)),
            told_apart(redrawn, samples),
        ])  # fmt: skip
    return rows


def kernel_distance(real: Features, drawn: Features) -> float:
    """Kernel inception distance: unbiased squared MMD of a cubic kernel (Bińkowski et al., 2018).

    Times a thousand, in the features of this trunk instead of Inception's.
    """

    def kernel(a: Features, b: Features) -> Features:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def among(k: Features) -> float:
        return float((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)))

    apart = float(kernel(real, drawn).mean())
    return 1e3 * (among(kernel(real, real)) + among(kernel(drawn, drawn)) - 2 * apart)


def told_apart(real: Features, drawn: Features) -> float:
    """Accuracy with which a classifier tells samples from real images, cross-validated.

    One half is what cannot be told apart (Lopez-Paz and Oquab, ICLR 2017).
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    rows, labels = np.r_[real, drawn], np.r_[np.zeros(len(real)), np.ones(len(drawn))]
    return float(cross_val_score(classifier, rows, labels, cv=5).mean())


def coarse(pictures: Pictures) -> Features:
    """Give what is left of pictures in 8 x 8 pixels, [N, F]: the part and its light, no texture."""
    return np.stack([
        np.asarray(Image.fromarray(each).resize((8, 8), Image.Resampling.BOX), float).ravel()
        for each in pictures
    ])  # fmt: skip


def neighbours_alike(real: Features, drawn: Features) -> float:
    """Share of rows whose nearest other row is of the same kind: the two-sample test by neighbours.

    One half is what cannot be told apart (Lopez-Paz and Oquab, ICLR 2017).
    """
    rows, kinds = np.r_[real, drawn], np.r_[np.zeros(len(real)), np.ones(len(drawn))]
    nearest = NearestNeighbors(n_neighbors=2).fit(rows).kneighbors(rows)[1][:, 1]
    return float((kinds[nearest] == kinds).mean())


def smooth(run: Path, see: See) -> tuple[float, float]:
    """Give median and maximum of the largest step over the mean step, over random pairs."""
    detector, images = opened(run)
    means, rng, ratios = encode(detector, images).mean, np.random.default_rng(0), []
    for _pair in range(PAIRS):
        first, last = rng.choice(len(means), 2, replace=False)
        film = see(decode(detector, linear_path(means[first], means[last], FRAMES)))
        steps = np.linalg.norm(np.diff(film, axis=0), axis=1)
        ratios.append(steps.max() / steps.mean())
    return float(np.median(ratios)), max(ratios)


@torch.no_grad()
def bounded(run: Path) -> list[str]:
    """Compare the evidence bound of each held-out image with an importance-weighted one.

    Burda et al. (2016), theorem 1: with more samples the bound can only become tighter. Both are
    estimated from draws of their own; on the same ones they could not but differ that way.
    """
    detector, images = opened(run)
    model = detector.model
    items = detector.features.standardised(detector.raw_items(torch.from_numpy(images)))
    posterior, generator = model.encode(items), torch.Generator().manual_seed(0)

    def weights() -> Tensor:
        drawn = []
        for _sample in range(IMPORTANCE_SAMPLES):
            z = sample(posterior, generator)
            error = model.error(items, model.decode(z)).flatten(1).sum(1)
            mean, log_variance = posterior
            # log N(z; 0, I) - log q(z | x); what is constant in both cancels.
            gain = 0.5 * ((z - mean) ** 2 * (-log_variance).exp() + log_variance - z**2).sum(1)
            drawn.append(gain - error)
        return torch.stack(drawn).double()

    first, second = weights(), weights()
    bound, spread = first.mean(0), first.std(0) / math.sqrt(IMPORTANCE_SAMPLES)
    estimate = second.logsumexp(0) - math.log(IMPORTANCE_SAMPLES)
    above = int((bound > estimate + 3 * spread).sum())
    closer = float((estimate - bound).mean())
    return [f"{len(images)}", f"{above}", f"{bound.mean():.2f}", f"{closer:.2f}"]


def restorations(run: Path, parts: Path) -> list[str]:
    """Restore the defective drawn parts: whether they pass, and are the same parts."""
    config = saved_config(run)
    detector = load_detector(run, config).eval()
    limit = Inspector(run / "model.onnx", device="cpu").card.threshold.score
    images = read_images(parts / "test", config.images, workers=2)
    classes = np.array([path.split("/")[0] for path in images.paths])
    bad = classes != "good"
    found = restore(detector, images.pixels[bad])
    truths = read_truths(parts / "test", images.paths, classes, config.images)
    masks = truths.squares[bad]
    _, pose = detector.aligned(torch.from_numpy(images.pixels[bad]))
    turned = torch.from_numpy(masks).float()[:, None]
    there = (turned if pose is None else warp(turned, pose))[:, 0].numpy() > 0.5
    differences = found.difference.mean(3)
    _, good = opened(run)
    usual = np.abs(
        as_seen(detector, good) - decode(detector, encode(detector, good).mean).astype(np.float64)
    ).mean()
    maps = score_images(detector, images.pixels[bad]).anomaly_map.numpy()
    return [
        f"{(found.score > limit).sum()} of {bad.sum()}",
        f"{(found.restored_score <= limit).sum()} of {bad.sum()}",
        f"{differences[~there].mean() / usual:.2f}",
        f"{roc_auc_score(there.ravel(), differences.ravel()):.3f}",
        f"{roc_auc_score(masks.ravel(), maps.ravel()):.3f}",
    ]


def architectures(data: Path, work: Path) -> str:
    """Train each model that comes with the program, and inspect the test images with it."""
    rows = []
    names = [each for each in model_names() if not load_config(Path(each)).images.slices]
    for name in names:
        run, out = work / "models" / name, work / "evaluations" / name
        if not (out / "metrics.json").is_file():
            call("train", data / "bottle/train/good", "--out", run, "--overwrite", "--config", name,
                 "--device", "cpu")  # fmt: skip
            call("evaluate", run, data / "bottle/test", "--out", out, "--overwrite")
        detector, held_out = opened(run)
        error, kl = parts_of_images(detector, held_out)
        auroc = json.loads((out / "metrics.json").read_text())["images"]["auroc"]
        rows.append([
            f"`{name}`", f"{sum(each.numel() for each in detector.model.parameters()):,}",
            f"{error.mean():.3f}", f"{kl.mean():.1f}", f"{auroc:.3f}",
        ])  # fmt: skip
    head = ["`--config`", "parameters", "error, nats per pixel", "KL, nats", "image AUROC"]
    return markdown(head, rows)


def main(
    data: Path,
    weights: Path,
    work: Annotated[Path, typer.Option(help="Folder for the trainings.")],
) -> None:
    """Train, compare, and write the tables."""
    studies = digits, _, drawn = studies_of(data, work)
    parts = work / "images-drawn"
    order, runs = orders(studies, work)
    see = seen_by_trunk(weights)
    samples = [sampled(each, runs[each.name], work, see) for each in studies]
    distances, apart = (list(chain(*each)) for each in zip(*samples, strict=True))
    first = {name: table[table["model.beta"] == 1.0]["run"].iloc[0] for name, table in runs.items()}
    folders = {name: work / name / "runs" / run for name, run in first.items()}
    shutil.copy(work / "bottle" / "rate_distortion.png", HERE / "pictures" / "rate-distortion.png")
    linear = work / "drawn-linear"
    if not (linear / "model.onnx").is_file():
        call("train", drawn.good, "--out", linear, "--overwrite", "--features", "pixels")
    tables = {
        "order": order,
        "collapse": collapses(digits, work),
        "samples": markdown(
            ["images", "model", "1000 KID, prior", "1000 KID, mixture"], distances
        ),
        "apart": markdown(
            ["images", "model", *(f"{origin}, {each}" for origin in ("prior", "mixture")
             for each in ("from photographs", "at 8 x 8", "from reconstructions"))],
            apart,
        ),
        "smooth": markdown(
            ["images", "largest step / mean step, median of 20 pairs", "largest of 20 pairs"],
            [[f"`{k}`", *(f"{v:.2f}" for v in smooth(run, see))] for k, run in folders.items()],
        ),
        "bound": markdown(
            ["images", "held out", "bound above the estimate", "bound, nats", "closer by"],
            [[f"`{name}`", *bounded(run)] for name, run in folders.items()],
        ),
        "restore": markdown(
            ["defective parts above the threshold", "at or below it after `restore`",
             "difference outside the mask / reconstruction error of good parts",
             "pixel AUROC of the difference", "of the anomaly map"],
            [restorations(linear, parts)],
        ),
        "architectures": architectures(data, work),
    }  # fmt: skip
    report = HERE / "vae.md"
    report.write_text(replace_tables(report.read_text(), tables))


if __name__ == "__main__":
    typer.run(main)
