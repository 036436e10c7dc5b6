"""Measures what thresholds promise and what they keep, and fills ``calibration.md``.

    python reports/calibration.py DATA RUNS

DATA holds data sets in the layout of MVTec AD, RUNS a run folder of the same name for each of
those that are to be judged. The test images are divided 20 times: a threshold is set on one half
and judged on the other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import lognorm, norm
from scipy.stats import t as student
from tables import markdown, replace_tables

from anomaly_vae.calibration.conformal import good_only_limit, tail_limit
from anomaly_vae.calibration.drift import DriftMonitor
from anomaly_vae.calibration.goals import Costs, Goal
from anomaly_vae.calibration.intervals import rate
from anomaly_vae.calibration.roc import OperatingPoint, choose_operating_point, operating_point
from anomaly_vae.errors import CalibrationError
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector

HERE = Path(__file__).parent
SPLITS = 20
GOALS = {
    "youden": Goal(),
    "false alarms <= 0.05": Goal("false-alarm-rate", 0.05),
    "recall >= 0.95": Goal("recall", 0.95),
    "cost 500 : 2, 0.3 % defective": Goal("cost", costs=Costs(500, 2, 0.003)),
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A model's findings on its test images."""

    inspector: Inspector
    findings: list[Finding]

    @property
    def defective(self) -> NDArray[np.bool_]:
        """Which images are defective, [N]."""
        return np.array([not each.path.startswith("good/") for each in self.findings])

    @property
    def scores(self) -> Floats:
        """The score of each image, [N]."""
        return np.array([each.score for each in self.findings])


def main(data: Path, runs: Path) -> None:
    """Measure, and write the tables."""
    sets = {
        run.name: measure(run / "model.onnx", data / run.name / "test")
        for run in sorted(runs.iterdir())
        if (run / "model.onnx").is_file() and (data / run.name).is_dir()
    }
    tables = {
        "halves": "\n\n".join(halves(name, each) for name, each in sets.items()),
        "good_only": good_only(sets),
        "drift": drift(sets),
        "conformal": conformal(),
        "tail": tail(),
    }
    report = HERE / "calibration.md"
    report.write_text(replace_tables(report.read_text(), tables))


def measure(model: Path, test: Path) -> Measured:
    """Inspect the test images with the exported model."""
    inspector = Inspector(model, device="cpu")
    return Measured(inspector, list(inspector.inspect_files(test, list_images(test))))


def halves(name: str, measured: Measured) -> str:
    """Set each threshold on one half, judge it on the other; means and spreads of 20 splits."""
    rows = []
    for title, goal in GOALS.items():
        points = list(judged(measured, goal))
        if not points:
            rows.append([title, "cannot be set", *["-"] * 5])
            continue
        columns = []
        for index in (0, 1):  # recall, false alarms
            here, there = (
                [point.rates()[index] for point in side] for side in zip(*points, strict=True)
            )
            covered = sum(a.low <= b.value <= a.high for a, b in zip(here, there, strict=True))
            columns += [
                spread([each.value for each in here]), spread([each.value for each in there]),
                f"{covered} of {len(points)}",
            ]  # fmt: skip
        rows.append([title, *columns])
    return markdown(
        [f"`{name}`", "recall, set", "judged", "in interval", "false alarms, set", "judged",
         "in interval"], rows,
    )  # fmt: skip


def judged(measured: Measured, goal: Goal) -> Iterator[tuple[OperatingPoint, OperatingPoint]]:
    """Yield what a threshold does on the half it was set on, and on the other."""
    rng = np.random.default_rng(0)
    good, bad = measured.scores[~measured.defective], measured.scores[measured.defective]
    for _split in range(SPLITS):
        first, second = (np.array_split(rng.permutation(each), 2) for each in (good, bad))
        try:
            point = choose_operating_point(first[0], second[0], goal)
        except CalibrationError:  # the highest score of this half is a good image's
            continue
        yield point, operating_point(first[1], second[1], point.threshold)


def good_only(sets: dict[str, Measured]) -> str:
    """Compare the promise of each model's own limits with what they do."""
    rows = []
    for name, each in sets.items():
        limit = each.inspector.card.threshold
        good, bad = each.scores[~each.defective], each.scores[each.defective]
        lower = limit.score if limit.review is None else limit.review
        p_values = np.array([f.p_value for f in each.findings])[~each.defective]
        rows.append(
            [f"`{name}`", str(limit.good), f"{limit.fail_rate or 0:.1%}",
             _share(good > limit.score), f"{limit.review_rate or 0:.0%}", _share(good > lower),
             _share(bad <= limit.score), _share(bad <= lower), _share(p_values <= 0.1)]
        )  # fmt: skip
    return markdown(
        ["", "good images", "promised: fail", "good test images that fail",
         "promised: fail or review", "good test images that do", "defective ones that do not fail",
         "that pass", "good with p <= 0.1"], rows,
    )  # fmt: skip


def _share(those: NDArray[np.bool_]) -> str:
    return str(rate(int(those.sum()), len(those)))


def drift(sets: dict[str, Measured]) -> str:
    """Compare good test images with the held-out good images of the model."""
    rows = []
    for name, each in sets.items():
        card = each.inspector.card
        if card.good is None:
            raise ValueError(f"{name}: the model has no threshold yet")
        monitor = DriftMonitor(card.good, card.threshold.score)
        for finding in each.findings:
            if finding.path.startswith("good/") and finding.image:
                monitor.add(finding.score, finding.image.statistics)
        rows += [
            [f"`{name}`", shift.statistic, f"{shift.good_median:.3g}", f"{shift.median:.3g}",
             f"{shift.p_value:.2g}", f"{shift.stability_index:.2f}",
             f"{shift.critical_index:.2f}", "yes" if shift.shifted else "no"]
            for shift in monitor.shifts()
        ]  # fmt: skip
    return markdown(
        ["", "statistic", "median, held-out good", "good test images", "p", "stability index",
         "critical", "shifted"], rows,
    )  # fmt: skip


SHAPES = {"normal": norm(), "log-normal": lognorm(0.5), "heavy-tailed (t, 3)": student(3)}
COUNTS = (30, 100, 1000)


def conformal() -> str:
    """The rate above the default conformal limit, over 1,000 draws of known distributions."""
    rows = []
    for shape, distribution in SHAPES.items():
        for count in COUNTS:
            drawn = distribution.rvs(size=(1000, count), random_state=np.random.default_rng(0))
            limits, promised = zip(*(good_only_limit(scores) for scores in drawn), strict=True)
            realised = distribution.sf(np.array(limits))
            rows.append(
                [shape, str(count), f"{promised[0]:.4f}", f"{realised.mean():.4f}",
                 f"{np.median(realised):.4f}", f"{(realised > promised[0]).mean():.2f}"]
            )  # fmt: skip
    return markdown(
        ["scores", "n", "promised on average", "realised, mean", "median", "share of draws above"],
        rows,
    )


def tail() -> str:
    """The extrapolated limit at a tenth of the rate that n images can promise."""
    rows = []
    for shape, distribution in SHAPES.items():
        for count in COUNTS:
            wanted = 0.1 / (count + 1)
            drawn = distribution.rvs(size=(300, count), random_state=np.random.default_rng(0))
            factors = distribution.sf([tail_limit(scores, wanted) for scores in drawn]) / wanted
            low, median, high = np.quantile(factors, [0.1, 0.5, 0.9])
            rows.append(
                [shape, str(count), f"{wanted:.2g}", f"{median:.2f}", f"{low:.2f} to {high:.1f}"]
            )
    return markdown(["scores", "n", "rate wanted", "median factor", "10 % to 90 %"], rows)


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else math.nan:.3f}"


if __name__ == "__main__":
    typer.run(main)
