"""Stacks of slices for people to look at: side by side, as if that were the photograph."""

from dataclasses import replace

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.regions import Region
from anomaly_vae.images.stacks import columns_of, side_by_side
from anomaly_vae.inspection.finding import Finding


def laid_out(finding: Finding) -> Finding:
    """Give what was found of a stack as of a photograph of its slices side by side.

    What was found of a photograph stays as it is.
    """
    image, anomaly_map = finding.image, finding.anomaly_map
    if image is None or not image.slices:
        return finding
    if anomaly_map is not None:
        anomaly_map = side_by_side(anomaly_map, image.slices)
    regions = tuple(on_sheet(each, image) for each in finding.regions)
    return replace(finding, image=sheet_of(image), anomaly_map=anomaly_map, regions=regions)


def sheet_of(image: LoadedImage) -> LoadedImage:
    """Give a stack as a photograph of its slices; a photograph as it is."""
    if not image.slices:
        return image
    columns = columns_of(image.slices)
    return replace(
        image,
        pixels=side_by_side(image.pixels, image.slices),
        width=columns * image.width,
        height=-(-image.slices // columns) * image.height,
        slices=0,
    )


def on_sheet(region: Region, image: LoadedImage) -> Region:
    """Give a region of a stack where it is on the photograph of its slices."""
    if not image.slices:
        return region
    row, column = divmod(region.slice - 1, columns_of(image.slices))
    return replace(region, x=region.x + column * image.width, y=region.y + row * image.height)
