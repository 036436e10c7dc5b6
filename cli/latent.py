"""The commands that show what a model has learned: generate, interpolate and others."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Overwrite, app
from .console import talk
from .reading import open_model, open_pixel_model, read_folder, read_photographs
from .saying import warn_unreadable

if TYPE_CHECKING:
    from anomaly_vae.scoring import Detector
    from anomaly_vae.settings import ImageSettings

Run = Annotated[Path, typer.Argument(help="Run folder of 'train'.")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
# More frames make the animation smooth than the strip has room for.
_FRAMES_PER_STEP = 4


class Origin(StrEnum):
    """What new parts are drawn from."""

    PRIOR = "prior"
    POSTERIOR = "posterior"


class Sorting(StrEnum):
    """Which latent dimensions come first."""

    KL = "kl"
    EFFECT = "effect"


class Film(StrEnum):
    """What animations are written as."""

    GIF = "gif"
    WEBP = "webp"


class Table(StrEnum):
    """What the table of latents is written as."""

    CSV = "csv"
    PARQUET = "parquet"


class Plane(StrEnum):
    """How many latent dimensions are shown in two."""

    PCA = "pca"
    TSNE = "tsne"


@app.command()
def generate(
    run: Run,
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of parts.")] = 16,
    good: Annotated[
        Path | None,
        typer.Option(help="Good images; a run folder does not hold those it was made with."),
    ] = None,
    origin: Annotated[
        Origin | None,
        typer.Option(
            "--from",
            help="prior: N(0, I); posterior: where the images of --good lie, the better one "
            "because N(0, I) has holes; default: posterior if there is --good.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="Below 1: more usual parts; above: stranger.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other parts.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw new parts that look like good ones (needs a model of pixels)."""
    from anomaly_vae import latent, sampling
    from anomaly_vae.errors import ConfigError
    from anomaly_vae.outputs import prepare_folder, refuse_used
    from anomaly_vae.reporting import pictures

    config, detector = open_pixel_model(run)
    origin = origin or (Origin.POSTERIOR if good else Origin.PRIOR)
    if origin == Origin.POSTERIOR and good is None:
        raise ConfigError("--from posterior needs --good, a folder of good images")
    if not overwrite:
        refuse_used(out)
    if origin == Origin.POSTERIOR and good:
        means = latent.encode(detector, read_folder(good, config.images).pixels).mean
        mixture = sampling.fit_mixture(means)
        talk.say(
            f"drawn from {mixture.n_components} Gaussian(s) around {len(means)} good images, "
            f"{mixture.covariance_type} covariance"
        )
        z = sampling.draw_from_mixture(mixture, count, temperature=temperature, seed=seed)
    else:
        talk.say("drawn from the prior; with --good they would keep to where good parts lie")
        z = detector.model.draw_prior(count, temperature=temperature, seed=seed)
    parts = latent.decode(detector, z)
    prepare_folder(out, ("grid.png", "parts"), overwrite=overwrite)
    pictures.save_grid(parts, out / "grid.png")
    pictures.save_pictures(parts, out / "parts")
    talk.say(f"{count} parts: {out / 'grid.png'}, {out / 'parts'}")


@app.command()
def interpolate(
    run: Run,
    first: Annotated[Path, typer.Argument(metavar="A", help="Photograph to begin with.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Photograph to end with.")],
    out: Out,
    steps: Annotated[int, typer.Option(min=2, max=50, help="Pictures from A to B.")] = 9,
    film: Annotated[
        Film,
        typer.Option("--format", help="Of the films: webp is smaller than gif, in full colour."),
    ] = Film.GIF,
    overwrite: Overwrite = False,
) -> None:
    """Turn one part into another, on the line and on the arc (needs a model of pixels)."""
    from anomaly_vae import latent, sampling
    from anomaly_vae.outputs import prepare_folder, refuse_used
    from anomaly_vae.reporting import latents as figures
    from anomaly_vae.reporting import pictures

    config, detector = open_pixel_model(run)
    if not overwrite:
        refuse_used(out)
    images = read_photographs([first, second], config.images)
    start, end = latent.encode(detector, images).mean
    frames = _FRAMES_PER_STEP * (steps - 1) + 1
    films = {
        name: latent.decode(detector, path(start, end, frames))
        for name, path in (("linear", sampling.linear_path), ("spherical", sampling.spherical_path))
    }
    own = [f"{name}.{each.value}" for name in films for each in Film]
    prepare_folder(out, ("strip.png", *own), overwrite=overwrite)
    strip = {name: film[::_FRAMES_PER_STEP] for name, film in films.items()}
    figures.save_strip(strip, latent.as_seen(detector, images), out / "strip.png")
    for name, frames_of in films.items():
        path = out / f"{name}.{film.value}"
        pictures.save_animation(frames_of, path)
        talk.say(
            f"{name:9s}  largest step {latent.unevenness(strip[name]):.2f} of the mean step: {path}"
        )
    talk.say(f"side by side: {out / 'strip.png'}")


@app.command()
def traverse(
    run: Run,
    image: Annotated[Path, typer.Argument(help="Photograph of a part.")],
    out: Out,
    steps: Annotated[int, typer.Option(min=2, max=25, help="Pictures per dimension.")] = 7,
    most: Annotated[int, typer.Option(min=1, max=100, help="Dimensions at most.")] = 10,
    sort: Annotated[
        Sorting, typer.Option(help="First those with the largest KL, or that change most.")
    ] = Sorting.KL,
    overwrite: Overwrite = False,
) -> None:
    """Show what each latent dimension means, from -3 to 3 sigma."""
    from anomaly_vae import latent
    from anomaly_vae.features import PixelFeatures
    from anomaly_vae.outputs import prepare_folder, refuse_used
    from anomaly_vae.reporting import latents as figures

    config, detector = open_model(run)
    if not overwrite:
        refuse_used(out)
    photographs = read_photographs([image], config.images)
    found = latent.traverse(
        detector, photographs[0], steps=steps, most=most, by_effect=sort == Sorting.EFFECT
    )
    prepare_folder(out, ("traversal.png",), overwrite=overwrite)
    draws = isinstance(detector.features, PixelFeatures)
    talk.say("dimension   KL, nats    effect   this part")
    names = []
    own = found.own.reshape(len(found.own), -1).mean(1)
    for dimension, kl, effect, lies in zip(*found[:3], own, strict=True):
        amount = f"{effect:9.2%}" if draws else f"{effect:9.3f}"
        talk.say(f"{dimension:9d} {kl:10.2f} {amount} {lies:+11.2f}")
        names.append(f"z{dimension} = {lies:+.2f}\nKL {kl:.2f}")
    path = out / "traversal.png"
    if draws:
        figures.save_traversal(found.values, found.frames, names, path)
    else:
        talk.say("effect in standard deviations of good parts; all are means over the map")
        (seen,) = latent.as_seen(detector, photographs)
        figures.save_traversed_maps(found.values, found.frames, found.own, seen, names, path)
    talk.say(f"picture: {path}")


@app.command()
def latents(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Images, or one sub-folder per class.")],
    out: Out,
    plane: Annotated[
        Plane, typer.Option(help="What more than two dimensions are shown by.")
    ] = Plane.PCA,
    table: Annotated[
        Table, typer.Option("--format", help="Of the table; parquet: pip install [parquet].")
    ] = Table.CSV,
    overwrite: Overwrite = False,
) -> None:
    """Write where images lie in the latent space, as a table and as a picture."""
    if table is Table.PARQUET:
        import pyarrow  # noqa: F401 (that it is missing is to be said before the work)

    from anomaly_vae import latent
    from anomaly_vae.outputs import prepare_folder, refuse_used
    from anomaly_vae.reporting import latents as figures
    from anomaly_vae.scoring import score_images

    config, detector = open_model(run)
    if not overwrite:
        refuse_used(out)
    images = read_folder(folder, config.images, skip=out)
    classes = [path.split("/")[0] if "/" in path else "" for path in images.paths]
    posterior = latent.encode(detector, images.pixels)
    scores = score_images(detector, images.pixels).score.numpy()
    points, axis_names = latent.plane(posterior.mean, plane.value)
    own = [f"latents.{each.value}" for each in Table]
    prepare_folder(out, ("latents.png", *own), overwrite=overwrite)
    mean, log_variance = (each.numpy() for each in posterior)
    path = out / f"latents.{table.value}"
    figures.save_table(images.paths, classes, scores, mean, log_variance, path)
    figures.save_plane(
        points, axis_names, images.pixels, out / "latents.png", classes=classes, scores=scores
    )
    talk.say(f"{len(images.paths)} images, {mean.shape[1]} latent dimensions: {out}")


@app.command()
def restore(
    run: Run,
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE_OR_FOLDER",
            help="Photograph of a part, defective or not, or a folder, searched recursively.",
        ),
    ],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Draw the nearest good part, and where a part differs from it (needs a model of pixels)."""
    from anomaly_vae.outputs import refuse_used

    config, detector = open_pixel_model(run)
    if not overwrite:
        refuse_used(out)
    if image.is_dir():
        _restore_folder(detector, config.images, image, out, overwrite=overwrite)
    else:
        _restore_image(detector, config.images, image, out, overwrite=overwrite)


def _restore_image(
    detector: "Detector", settings: "ImageSettings", image: Path, out: Path, *, overwrite: bool
) -> None:
    from anomaly_vae.outputs import prepare_folder
    from anomaly_vae.reporting.restorations import RESULTS, save_restored
    from anomaly_vae.restoration import restore

    found = restore(detector, read_photographs([image], settings))
    prepare_folder(out, RESULTS, overwrite=overwrite)
    save_restored(found, 0, out)
    talk.say(f"score {found.score[0]:.4g}, of the nearest good part {found.restored_score[0]:.4g}")
    talk.say(f"side by side: {out / 'restoration.png'}")


def _restore_folder(
    detector: "Detector", settings: "ImageSettings", folder: Path, out: Path, *, overwrite: bool
) -> None:
    from anomaly_vae.errors import FolderError
    from anomaly_vae.outputs import prepare_folder
    from anomaly_vae.reporting.restorations import RESULTS, TABLE, restore_folder
    from anomaly_vae.sources import images_below

    source = images_below(folder, skip=out)
    prepare_folder(out, RESULTS, overwrite=overwrite)
    restored, unreadable = 0, []
    rows = restore_folder(detector, settings, source, out)
    for row in talk.track(rows, "Restoring", source.total):
        restored += not row.error
        if row.error:
            unreadable.append(row)
    if not restored:
        first = unreadable[0]
        raise FolderError(
            f"{folder}: none of {len(unreadable)} images is readable; {first.path}: {first.error}"
        )
    warn_unreadable([row.path for row in unreadable])
    for trouble in source.unlisted:
        talk.warn(f"{trouble}: its images were not restored")
    talk.say(f"{restored} images restored: {out / TABLE}")
