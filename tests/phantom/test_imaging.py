"""Planes, slices and grey values: slabs follow the spine, lesions show, statistics lie near the real ones."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.signal import convolve2d

from lhdlib.phantom import imaging
from lhdlib.phantom.anatomy import SPACING
from tests.phantom.studies import axial_headers


@pytest.mark.slow
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
    matrices = {(patient.rows, patient.columns) for patient in anatomies}
    assert matrices == {(256, 256), (320, 310), (320, 320), (384, 384)}
    assert np.mean([patient.pixel == 0.6875 for patient in anatomies]) > 0.6


@pytest.mark.slow
def test_every_lesion_shows_in_the_central_slices_and_no_healthy_disc_has_a_mask(anatomies):
    seen, kinds = [], []
    for patient in anatomies[:14]:
        texture = imaging.Texture(np.random.default_rng(0), (patient.rows, patient.columns))
        for slab in patient.slabs:
            planes = imaging.axial_planes(patient, slab)
            central = int(np.argmin(np.abs(slab.offsets)))
            around = planes[max(central - 1, 0) : central + 2]
            disc = patient.discs[slab.disc]
            masks = [imaging.axial_signal(patient, texture, slab, plane)[1] for plane in around]
            if disc.abnormal:
                kinds.append(disc.displacement.kind)
                seen.append(sum(mask.sum() * plane.pixel**2 > 4 for mask, plane in zip(masks, around, strict=True)))
            else:
                assert not np.any(masks)
    assert {"bulge", "protrusion"} <= set(kinds)
    assert min(seen) >= 1
    assert np.mean(np.array(seen) >= 2) > 0.9


def test_a_lesion_changes_nothing_else(anatomies):
    patient = next(p for p in anatomies if p.discs[0].displacement.kind == "protrusion" and p.discs[0].severity > 0.5)
    slab, disc = patient.slabs[-1], patient.discs[0]
    nothing = replace(disc, displacement=replace(disc.displacement, depth=0.0), tear=None, severity=-1.0)
    healthy = replace(patient, discs=(nothing, *patient.discs[1:]))
    plane = imaging.axial_planes(patient, slab)[int(np.argmin(np.abs(slab.offsets)))]
    texture = imaging.Texture(np.random.default_rng(0), (patient.rows, patient.columns))
    (with_it, mask), (without, none) = (imaging.axial_signal(p, texture, slab, plane) for p in (patient, healthy))
    change = np.abs(with_it - without).max(axis=0)
    rows, columns = np.nonzero(change > 1e-3)
    centre = np.array(np.nonzero(mask)).mean(axis=1)
    assert not none.any() and change[mask].mean() > 0.05
    assert np.hypot(rows - centre[0], columns - centre[1]).max() * plane.pixel < 30


def statistics(image: np.ndarray, *, pixel: float = 0.6875) -> np.ndarray:
    """Shares of 8 grey-level classes, mean in 7 rings of 15 mm, gradient energy: of the image scaled robustly."""
    image = image[:, (image.shape[1] - 310) // 2 :][:, :310] if image.shape[1] == 320 else image
    image = image.astype(float)
    image = np.clip(image / np.percentile(image, 99.5), 0, 1.2)
    shares = np.histogram(image, [0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.21])[0] / image.size
    radius = np.hypot(*(np.indices(image.shape) - np.array(image.shape)[:, None, None] / 2)) * pixel
    rings = [image[(radius >= low) & (radius < low + 15)].mean() for low in range(0, 105, 15)]
    energy = np.mean(np.square(np.gradient(image)))
    return np.array([*shares, *rings, energy])


@pytest.mark.slow
def test_statistics_lie_near_the_real_ones(headers, real_dir):
    real = np.array([statistics(imread(path)) for path in sorted((real_dir / "axial").glob("*.png"))])
    files = [ds for weighting in ("T1", "T2") for ds in axial_headers(headers, weighting).ds]
    ours = np.array([statistics(ds.pixel_array, pixel=float(ds.PixelSpacing[0])) for ds in files])
    # Means within 1.5 standard deviations of the real slices', and most phantom slices inside the real range,
    # widened by one standard deviation.
    distance = np.abs(ours.mean(axis=0) - real.mean(axis=0)) / real.std(axis=0)
    assert distance.max() < 1.5, distance.round(2)
    low, high = real.min(axis=0) - real.std(axis=0), real.max(axis=0) + real.std(axis=0)
    inside = ((ours >= low) & (ours <= high)).mean(axis=0)
    assert inside.min() > 0.75, inside.round(2)


def test_texture_is_smooth_noise_of_unit_variance_that_changes_slowly():
    texture = imaging.Texture(np.random.default_rng(1), (320, 320))
    steps = []
    for here, near in zip(texture.at(10.0), texture.at(10.5), strict=True):
        assert here.shape == (320, 320) and 0.7 < here.std() < 1.3
        assert np.abs(near - here).std() < 0.1
        steps.append(np.abs(np.diff(here, axis=1)).mean())
    assert steps[0] < steps[1] < steps[2]  # coarse, middle, fine


def test_planes_of_a_slab_are_orthonormal_and_apart_by_the_spacing(anatomies):
    for patient in anatomies[:100]:
        for slab in patient.slabs:
            planes = imaging.axial_planes(patient, slab)
            axes = np.array([planes[0].right, planes[0].down, np.cross(planes[0].right, planes[0].down)])
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
            steps = np.diff([plane.position for plane in planes], axis=0)
            np.testing.assert_allclose(steps @ axes.T, [[0, 0, -SPACING]] * len(steps), atol=1e-9)


def test_grey_values_without_noise_are_the_sharpened_signal(anatomies):
    rng = np.random.default_rng(6)
    patient = replace(anatomies[0], noise=0.0, gain=1000.0)
    signal = rng.random((40, 30)).astype(np.float32)
    sharp = signal.astype(float)
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]) * 0.75 / 4
    sharp[1:-1, 1:-1] += convolve2d(signal, kernel, "valid")
    expected = np.minimum(np.abs(sharp) * 1000, 4095)
    np.testing.assert_allclose(imaging.digitise(rng, signal, patient), expected, atol=1.01)
    assert imaging.digitise(rng, signal * 100, patient).max() == 4095


def test_noise_alone_has_the_mean_of_a_rayleigh_distribution(anatomies):
    patient = replace(anatomies[0], noise=0.02, gain=50_000.0)
    values = imaging.digitise(np.random.default_rng(6), np.zeros((300, 300), np.float32), patient)
    assert values.mean() == pytest.approx(1000 * np.sqrt(np.pi / 2), rel=0.01)


def test_the_coil_and_the_saturation_band_weaken_what_is_deep_and_in_front(anatomies):
    patient = anatomies[0]
    slab = next(slab for slab in patient.slabs if slab.disc == 2)
    plane = imaging.axial_planes(patient, slab)[len(slab.offsets) // 2]
    texture = imaging.Texture(np.random.default_rng(0), (patient.rows, patient.columns))
    (_, t2), _ = imaging.axial_signal(patient, texture, slab, plane)
    row = plane.rows / 320
    back, front = t2[int(190 * row) : int(260 * row)].mean(), t2[: int(60 * row)].mean()
    assert back > 5 * front


def test_the_position_display_draws_each_slice_as_a_line(anatomies):
    patient = anatomies[0]
    [view] = imaging.sagittal_planes(patient, np.array([0.0]), 0.78125, 384)
    planes = [plane for slab in patient.slabs for plane in imaging.axial_planes(patient, slab)]
    pixels = np.random.default_rng(0).integers(0, 100, (384, 384)).astype("<u2")
    pixels[0, 0] = 4000
    same, screen = imaging.position_display((view, pixels), planes)
    assert same is view and np.all(screen[screen != pixels] == 4000)
    rows, columns = np.nonzero(screen != pixels)
    points = view.position + 0.78125 * (rows[:, None] * view.down + columns[:, None] * view.right)
    distances = []
    for plane in planes:
        # A slice's middle line, seen from the side: neither x nor the roll counts.
        middle = plane.position + plane.pixel * (plane.columns - 1) / 2 * plane.right
        normal = np.array([0, -plane.down[2], plane.down[1]]) / np.hypot(*plane.down[1:])
        distances.append(np.abs((points - middle) @ normal))
    nearest = np.array(distances).argmin(axis=0)
    assert np.min(distances, axis=0).max() < 0.8 and set(nearest) == set(range(len(planes)))


def test_patients_differ_in_what_real_studies_differ_in(anatomies):
    """Poses and contrasts so far apart that no pixel shows the same tissue in all patients."""
    lowest = [patient.discs[1] for patient in anatomies]
    assert np.degrees(np.std([disc.rotation for disc in lowest])) > 2
    assert np.ptp([patient.centre for patient in anatomies], axis=0).min() > 12
    assert np.std([disc.half_width for disc in lowest]) > 1.2
    for name in ("coil_slope", "noise", "coil", "marrow", "gain", "muscle_scale", "fat_thickness"):
        assert len({getattr(patient, name) for patient in anatomies}) > 100, name
    assert 0.2 < np.mean([patient.ghost[0] > 0 for patient in anatomies]) < 0.5
    assert 0.15 < np.mean([patient.stripe[0] > 0 for patient in anatomies]) < 0.35


def central_signal(patient):
    slab = next(slab for slab in patient.slabs if slab.disc == 1)
    plane = imaging.axial_planes(patient, slab)[int(np.argmin(np.abs(slab.offsets)))]
    texture = imaging.Texture(np.random.default_rng(0), (patient.rows, patient.columns))
    return imaging.axial_signal(patient, texture, slab, plane)[0]


def test_motion_and_crossing_slabs_leave_their_marks(anatomies):
    plain = replace(anatomies[0], ghost=(0.0, 60), stripe=(0.0, 60.0), coil_slope=0.0)
    signal = central_signal(plain)
    ghosted = central_signal(replace(plain, ghost=(0.05, 60)))
    np.testing.assert_allclose(ghosted - signal, 0.05 * np.roll(signal, 60, axis=1), atol=1e-6)
    striped = central_signal(replace(plain, stripe=(0.5, 60.0)))
    lost = np.flatnonzero(np.any(np.abs(striped - signal) > 1e-3, axis=(0, 2)))
    assert len(lost) and np.ptp(lost) * plain.pixel < 40 and (lost > plain.rows // 2).all()  # a band behind the canal
    assert np.all(striped <= signal + 1e-6) and np.all(striped >= 0.49 * signal - 1e-6)
    sloped = central_signal(replace(plain, coil_slope=0.003))
    left, right = (np.s_[:, :, :80], np.s_[:, :, -80:])  # the patient's right side is on the image's left
    assert sloped[left].sum() < signal[left].sum() and sloped[right].sum() > signal[right].sum()
