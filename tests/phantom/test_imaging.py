"""Planes, slices and grey values: slabs follow the spine, lesions show, statistics lie near the real ones."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from lhdlib.phantom import imaging
from tests.phantom.studies import axial_headers


def test_slabs_follow_the_spine(anatomies):
    normals = []
    for patient in anatomies:
        planes = [imaging.axial_planes(patient, slab)[0] for slab in patient.slabs]
        normals.append([np.cross(plane.right, plane.down) for plane in planes])
    between = lambda a, b: np.degrees(np.arccos(np.clip(a @ b, -1, 1)))  # noqa: E731
    lowest = np.array([between(group[-1], group[-2]) for group in normals])
    upper = np.array([between(a, b) for group in normals for a, b in itertools.pairwise(group[:-1])])
    assert 10 < np.median(lowest) < 30
    assert np.median(upper) < 5
    assert 0.2 < np.mean(upper < 1e-3) < 0.7
    assert {len(slab.offsets) for patient in anatomies for slab in patient.slabs} == {3, 4, 5, 6}
    assert {len(patient.slabs) for patient in anatomies} == {3, 4, 5, 6}
    assert {patient.columns for patient in anatomies} == {310, 320}


@pytest.mark.slow
def test_every_shape_lesion_shows_in_the_central_slices(anatomies):
    seen, kinds = [], []
    for patient in anatomies[:12]:
        texture = imaging.Texture(np.random.default_rng(0), (320, patient.columns))
        for slab in patient.slabs:
            if patient.discs[slab.disc].lesion:
                planes = imaging.axial_planes(patient, slab)
                central = int(np.argmin(np.abs(slab.offsets)))
                around = planes[max(central - 1, 0) : central + 2]
                areas = [imaging.axial_signal(patient, texture, slab, plane)[1].sum() * 0.6875**2 for plane in around]
                kinds.append(patient.discs[slab.disc].lesion.kind)
                seen.append(sum(area > 4 for area in areas))
    assert {"bulge", "protrusion"} <= set(kinds)
    assert min(seen) >= 1
    assert np.mean(np.array(seen)[np.array(kinds) != "tear"] >= 2) > 0.9


def test_a_lesion_changes_nothing_else(anatomies):
    patient = next(p for p in anatomies if p.discs[0].lesion and p.discs[0].lesion.kind == "protrusion")
    slab = patient.slabs[-1]
    healthy = replace(patient, discs=(replace(patient.discs[0], lesion=None), *patient.discs[1:]))
    plane = imaging.axial_planes(patient, slab)[int(np.argmin(np.abs(slab.offsets)))]
    texture = imaging.Texture(np.random.default_rng(0), (320, patient.columns))
    (with_it, mask), (without, none) = (imaging.axial_signal(p, texture, slab, plane) for p in (patient, healthy))
    change = np.abs(with_it - without).max(axis=0)
    rows, columns = np.nonzero(change > 1e-3)
    centre = np.array(np.nonzero(mask)).mean(axis=1)
    assert not none.any() and change[mask].mean() > 0.05
    assert np.hypot(rows - centre[0], columns - centre[1]).max() * 0.6875 < 30


def statistics(image: np.ndarray) -> np.ndarray:
    """Shares of 8 grey-level classes, mean in 7 rings of 15 mm, gradient energy: of the image scaled robustly."""
    image = image[:, (image.shape[1] - 310) // 2 :][:, :310].astype(float)
    image = np.clip(image / np.percentile(image, 99.5), 0, 1.2)
    shares = np.histogram(image, [0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.21])[0] / image.size
    radius = np.hypot(*(np.indices(image.shape) - np.array(image.shape)[:, None, None] / 2)) * 0.6875
    rings = [image[(radius >= low) & (radius < low + 15)].mean() for low in range(0, 105, 15)]
    energy = np.mean(np.square(np.gradient(image)))
    return np.array([*shares, *rings, energy])


@pytest.mark.slow
def test_statistics_lie_near_the_real_ones(headers, real_dir):
    real = np.array([statistics(imread(path)) for path in sorted((real_dir / "axial").glob("*.png"))])
    images = [ds.pixel_array for weighting in ("T1", "T2") for ds in axial_headers(headers, weighting).ds]
    ours = np.array([statistics(image) for image in images])
    # Means within 1.5 standard deviations of the real slices', and most phantom slices inside the real range,
    # widened by one standard deviation.
    distance = np.abs(ours.mean(axis=0) - real.mean(axis=0)) / real.std(axis=0)
    assert distance.max() < 1.5, distance.round(2)
    low, high = real.min(axis=0) - real.std(axis=0), real.max(axis=0) + real.std(axis=0)
    inside = ((ours >= low) & (ours <= high)).mean(axis=0)
    assert inside.min() > 0.75, inside.round(2)
