"""Compares what parts are drawn from in the latent space, and fills a table of ``vae.md``.

    python reports/diffusion.py DATA WEIGHTS.safetensors --work DIR

The sets, the models and the kernel distance are those of ``vae.py``, at beta 1; with ``--seeds 3``
and its DIR, so are the trainings.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tables import markdown, replace_tables
from torch import Tensor
from vae import HERE, See, Study, kernel_distance, opened, seen_by_trunk, studies_of

from anomaly_vae.latent.diffusion import fit_diffusion
from anomaly_vae.latent.space import as_seen, decode, encode
from anomaly_vae.training.split import TRAINING
from anomaly_vae.vae.sampling import draw_from_mixture, fit_mixture

DRAWS = 3
ORIGINS = ("prior", "mixture", "diffusion")
Draw = Callable[[int, int], Tensor]
"""Draws so many latents with a seed."""


def main(
    data: Path,
    weights: Path,
    work: Annotated[Path, typer.Option(help="Folder for the trainings.")],
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
) -> None:
    """Train, draw, compare, and write the table."""
    see = seen_by_trunk(weights)
    head = ["images", "good", *(f"1000 KID, {each}" for each in ORIGINS), "photographs themselves",
            "diffusion: steps, seconds of a core"]  # fmt: skip
    report, rows = HERE / "vae.md", list[list[str]]()
    for study in studies_of(data, work):
        rows.append(row(study, work, see, seeds))
        table = {"diffusion": markdown(head, rows)}
        report.write_text(replace_tables(report.read_text(), table))


def row(study: Study, work: Path, see: See, seeds: int) -> list[str]:
    """Compare on one set: means and standard deviations over trainings and draws."""
    runs = study.sweep(work / study.name, "model.beta=1.0", seeds=seeds)
    names = runs[runs["model.beta"] == 1.0]["run"]
    found = [measured(work / study.name / "runs" / name, see) for name in names]
    distances = np.concatenate([each for each, *_ in found], 1)  # [origins, draws]
    itself, steps, seconds = (np.mean([each[i] for each in found]) for i in (1, 2, 3))
    figures = [f"{each.mean():.3f} ± {each.std():.3f}" for each in distances]
    _, good = opened(work / study.name / "runs" / names.iloc[0], TRAINING)
    return [f"`{study.name}`", str(len(good)), *figures, f"{itself:.3f}",
            f"{steps:.0f}, {seconds:.0f}"]  # fmt: skip


def measured(run: Path, see: See) -> tuple[np.ndarray, float, int, float]:
    """Give distances, [origins, draws], that of photographs, and what the diffusion took."""
    detector, held_out = opened(run)
    held_out = held_out[:200]
    learned = opened(run, TRAINING)[1]
    known, real = encode(detector, learned), see(as_seen(detector, held_out))
    mixture, begin = fit_mixture(known.mean), time.process_time()
    diffusion = fit_diffusion(known)
    seconds = time.process_time() - begin

    def drawn() -> Iterator[Draw]:
        yield lambda n, seed: detector.model.draw_prior(n, temperature=1.0, seed=seed)
        yield lambda n, seed: draw_from_mixture(mixture, n, temperature=1.0, seed=seed)
        yield lambda n, seed: diffusion.draw(n, temperature=1.0, seed=seed)

    distances = [
        [kernel_distance(real, see(decode(detector, draw(len(held_out), seed))))
         for seed in range(DRAWS)]
        for draw in drawn()
    ]  # fmt: skip
    itself = kernel_distance(real, see(as_seen(detector, learned[: len(held_out)])))
    return np.array(distances), itself, diffusion.steps, seconds


if __name__ == "__main__":
    typer.run(main)
