"""How much does the phantom look like real slices? ``python -m benchmarks.phantom_look REAL [--with-slices FILE]``

Compares axial phantom slices with a folder of real ones (PNG): grey levels, rings about the centre, gradients. Writes
``docs/phantom_and_real.png``, which holds phantom slices and statistics only; ``--with-slices`` draws real slices
beside them into a file of your own (they are not part of this repository).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from benchmarks.record import record
from lhdlib.data import dicom
from lhdlib.figures import style
from lhdlib.phantom.archive import write_phantom

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "phantom_and_real.png"
GREY = np.linspace(0, 1.25, 26)
RINGS_MM = np.arange(0, 111, 5.0)
SPACING_MM = 0.6875  # of the real slices


def statistics(image: np.ndarray, *, spacing: float = SPACING_MM) -> dict[str, np.ndarray]:
    """Grey-level density, mean in rings about the centre, and density of gradient magnitudes of one slice."""
    image = image / np.percentile(image, 99.5)
    y, x = np.indices(image.shape) - (np.array(image.shape)[:, None, None] - 1) / 2
    ring = np.digitize(np.hypot(x, y) * spacing, RINGS_MM)
    slope = np.hypot(*np.gradient(image))
    return {
        "grey level": np.histogram(image, GREY, density=True)[0],
        "radius, mm": np.array([image[ring == number].mean() for number in range(1, len(RINGS_MM))]),
        "gradient, per pixel": np.histogram(slope, GREY / 2, density=True)[0],
    }


def main() -> None:
    """Draw the comparison and record the distances."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("--with-slices", type=Path)
    args = parser.parse_args()
    real = [imread(path) for path in sorted(args.real.glob("*.png"))]
    with tempfile.TemporaryDirectory() as folder:
        archive = write_phantom(Path(folder) / "phantom", 12)
        slices, _ = dicom.index_tree(archive)
        made = [dicom.read_pixels(archive / path) for path in slices.path]
    ours = [statistics(i, spacing=spacing) for i, spacing in zip(made, slices.row_spacing, strict=True)]
    found = {"phantom": ours, "real": [statistics(i) for i in real]}
    draw(made, None, found, OUTPUT)
    if args.with_slices:
        draw(made, real, found, args.with_slices)
    lines = ["Mean distance between phantom and real curves, in standard deviations of the real slices:", ""]
    for name in found["real"][0]:
        ours, theirs = (np.array([row[name] for row in found[side]]) for side in ("phantom", "real"))
        spread = np.maximum(theirs.std(axis=0), theirs.std(axis=0).max() / 20)
        lines.append(f"- {name}: {np.mean(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / spread):.2f}")
    record(f"Phantom beside {len(real)} real axial slices ({len(made)} phantom slices)", lines)


def draw(made: list, real: list | None, found: dict, path: Path) -> None:
    """Slices above, statistics (line: mean over slices; band: standard deviation) below."""
    rows = [("phantom", made)] + ([("real", real)] if real else [])
    with style.style():
        heights = [30] * len(rows) + [62]  # mm
        size = (style.PAGE * style.MM, (sum(heights) + 8) * style.MM)
        fig = Figure(figsize=size, layout="constrained")
        parts = fig.subfigures(len(rows) + 1, 1, height_ratios=heights)
        for (side, images), part in zip(rows, parts, strict=False):
            for ax, number in zip(part.subplots(1, 6), np.linspace(0, len(images) - 1, 6).astype(int), strict=True):
                image = images[number]
                ax.imshow(image / np.percentile(image, 99.5), cmap="gray", vmin=0, vmax=1)
                ax.axis("off")
            part.suptitle(side, x=0.01, ha="left")
        for ax, name in zip(parts[-1].subplots(1, 3), found["real"][0], strict=True):
            edges = {"grey level": GREY, "radius, mm": RINGS_MM}.get(name, GREY / 2)
            middle = (edges[1:] + edges[:-1]) / 2
            for side, color, ls in (("phantom", style.VERMILION, "--"), ("real", style.BLUE, "-")):
                curves = np.array([row[name] for row in found[side]])
                mean, sd = curves.mean(axis=0), curves.std(axis=0)
                ax.plot(middle, mean, color=color, ls=ls, label=f"{side}, {len(curves)} slices")
                ax.fill_between(middle, mean - sd, mean + sd, color=color, alpha=0.2, lw=0)
            ax.set(xlabel=name, ylabel="mean grey level" if "radius" in name else "density")
            if "radius" not in name:
                ax.set_yscale("log")
        parts[-1].axes[0].legend(loc="lower left")
        data = "phantom (synthetic images, no evidence about patients); real axial slices of doi:10.17632/k57fr854j2"
        fig.supxlabel(f"Data: {data}", x=0.01, ha="left", fontsize=style.SMALL, color="0.25")
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, dpi=style.DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
