"""From tissues to grey values: planes, texture, coil, noise, and the images of a study."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from lhdlib.phantom.anatomy import Disc, Patient, Slab
from lhdlib.phantom.painting import Grain, between
from lhdlib.phantom.spine import paint_spine
from lhdlib.phantom.trunk import paint_trunk

LEVEL_HEIGHT = 36.0  #: millimetres from disc to disc, for the texture and for what changes by level
SLICE_PROFILE = (-1.4, 0.0, 1.4)  #: millimetres about the slice's middle, where the spine is sampled
LESION_SHARE = 0.4  #: a pixel belongs to the lesion's mask from this share on
COIL_FLAT, COIL_HALF = 16.0, 200.0  # millimetres: deep as far as this the coil receives all; to the side, half
SHARPENING = 0.75  #: of the scanner's edge filter
WEIGHTINGS = ("T1", "T2")  #: order of the maps
# Stripe of lost signal where slabs cross: v per millimetre upwards, no farther forward, half width, soft edge.
STRIPE_RISES, STRIPE_FROM, STRIPE_HALF, STRIPE_SOFT = 3.0, 32.0, 3.0, 4.0


class Texture:
    """Smooth unit-variance noise on three scales (about 8, 3 and 1.2 mm) that changes slowly along one axis."""

    SIGMAS = ((12, 12), (6, 3), (1.7, 1.7))  #: pixels along rows and columns, before the field is thinned out
    LENGTHS = (40, 14, 6)  #: millimetres along the axis for one radian of change

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]):
        self.fields = [[self._field(rng, shape, sigma) for _ in range(2)] for sigma in self.SIGMAS]

    @staticmethod
    def _field(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
        step = max(1, int(min(sigma) / 2))
        coarse = rng.standard_normal([n // step + 2 for n in shape], dtype=np.float32)
        coarse = ndimage.gaussian_filter(coarse, [s / step for s in sigma], mode="wrap")
        return ndimage.zoom(coarse / coarse.std(), step, order=1)[: shape[0], : shape[1]]

    def at(self, height: float) -> Grain:
        """Grain of a plane at a height in millimetres."""
        turns = [height / length for length in self.LENGTHS]
        return Grain(
            *(
                a * np.float32(np.cos(turn)) + b * np.float32(np.sin(turn))
                for (a, b), turn in zip(self.fields, turns, strict=True)
            )
        )


# --- planes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """Geometry of an image as DICOM states it: centre of the first pixel, unit row and column directions."""

    position: np.ndarray
    right: np.ndarray
    down: np.ndarray
    pixel: float
    rows: int
    columns: int


Image: TypeAlias = tuple[Plane, np.ndarray]  #: where, and 12-bit grey values


def axial_planes(patient: Patient, slab: Slab) -> list[Plane]:
    """Planes of a slab's slices, from the top."""
    c, s = np.cos(slab.tilt), np.sin(slab.tilt)
    right = np.array([np.cos(slab.roll), 0, np.sin(slab.roll)])
    normal = np.cross(right, [0, c, s])
    normal /= np.linalg.norm(normal)
    down = np.cross(normal, right)
    disc = patient.discs[slab.disc]
    ahead = 0.7 * disc.half_depth  # the slab turns about a point in the disc's posterior half
    middle = np.array(disc.origin) - ahead * np.array([0, np.cos(disc.tilt), np.sin(disc.tilt)])
    middle = middle + (ahead + patient.centre[1]) * down + patient.centre[0] * right
    corner = middle - patient.pixel * ((patient.columns - 1) / 2 * right + (patient.rows - 1) / 2 * down)
    return [
        Plane(corner + offset * normal, right, down, patient.pixel, patient.rows, patient.columns)
        for offset in slab.offsets
    ]


def sagittal_planes(patient: Patient, offsets: np.ndarray, pixel: float, size: int) -> list[Plane]:
    """Square sagittal planes at offsets in millimetres from L3-L4, from right to left."""
    origin = np.array(patient.discs[2].origin)
    right, down = np.array([0.0, 1, 0]), np.array([0.0, 0, -1])
    corner = origin + [0, 25, 0] - pixel * (size - 1) / 2 * (right + down)
    return [Plane(corner + [x, 0, 0], right, down, pixel, size, size) for x in offsets]


# --- signal ---------------------------------------------------------------------------------------------------------


def axial_signal(patient: Patient, texture: Texture, slab: Slab, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """T1 and T2 signal ``(2, rows, columns)`` of an axial slice, and the lesion's mask."""
    disc = patient.discs[slab.disc]
    u, v, w = _in_frame(plane, disc)
    height = float(w[plane.rows // 2 + round(12.4 / plane.pixel), plane.columns // 2])  # in the canal
    grain = texture.at(height + LEVEL_HEIGHT * slab.disc)
    image, depth = paint_trunk(u, v, slab.disc + height / LEVEL_HEIGHT, patient, disc.infiltration, grain, plane.pixel)
    # The spine alone is averaged over the slice thickness; around it one plane stands for the slice.
    rows, columns = box = _spine_box(u, v)
    heights = w[box] + np.array(SLICE_PROFILE, np.float32)[:, None, None]
    deep = np.stack([image[:, rows, columns]] * len(SLICE_PROFILE), axis=1)
    boxed = Grain(*(field[box] for field in grain))
    share = paint_spine(deep, u[box][None], v[box][None], heights, disc, patient, boxed, plane.pixel)
    image[:, rows, columns] = deep.mean(axis=1)
    mask = np.zeros(u.shape, bool)
    if disc.abnormal:  # what leaves a healthy disc is no lesion
        mask[box] = share.mean(axis=0) >= LESION_SHARE
    signal = _received(image, u, v, depth, patient)
    lost, where = patient.stripe
    where += STRIPE_RISES * height
    if lost and slab.disc < 2 and where > STRIPE_FROM:  # where the lowest slab crosses the next, tissue stays saturated
        signal *= 1 - np.float32(lost) * between(v, where - STRIPE_HALF, where + STRIPE_HALF, STRIPE_SOFT)
    ghost, moved = patient.ghost
    return (signal + np.float32(ghost) * np.roll(signal, moved, axis=1) if ghost else signal), mask


def _in_frame(plane: Plane, disc: Disc) -> tuple[np.ndarray, ...]:
    """u, v and w of a plane's pixels in a disc's frame."""
    start = _turned(plane.position - disc.origin, disc)
    across, along = ([plane.pixel * x for x in _turned(axis, disc)] for axis in (plane.right, plane.down))
    i, j = np.arange(plane.rows, dtype=np.float32)[:, None], np.arange(plane.columns, dtype=np.float32)
    return tuple((start[n] + across[n] * j + along[n] * i).astype(np.float32) for n in range(3))


def _turned(vector: np.ndarray, disc: Disc) -> tuple[float, float, float]:
    """A vector along a disc's axes; written out, for matrix products round differently on other processors."""
    x, y, z = vector.tolist()
    c, s = np.cos(disc.tilt), np.sin(disc.tilt)
    y, z = c * y + s * z, c * z - s * y
    c, s = np.cos(disc.rotation), np.sin(disc.rotation)
    return c * x + s * y, c * y - s * x, z


def _spine_box(u: np.ndarray, v: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of an axial slice that may show the spine."""
    rows = np.flatnonzero((v[:, v.shape[1] // 2] > -40) & (v[:, v.shape[1] // 2] < 52))
    columns = np.flatnonzero(np.abs(u[u.shape[0] // 2]) < 62)
    return slice(rows[0], rows[-1]), slice(columns[0], columns[-1])


def overview_signal(patient: Patient, texture: Texture, plane: Plane, factor: int, weighting: str) -> np.ndarray:
    """Signal of a plane across all levels, painted on a grid coarser by `factor` and enlarged.

    Along a row of the plane, which may be sagittal, coronal or axial, the height has to be the same.
    """
    rows, columns = plane.rows // factor, plane.columns // factor
    step = plane.pixel * factor
    i, j = (np.arange(n) * step + (step - plane.pixel) / 2 for n in (rows, columns))
    points = plane.position + i[:, None, None] * plane.down + j[:, None] * plane.right
    x, y, z = np.moveaxis(points, -1, 0).astype(np.float32)
    grain = Grain(*(field[:rows, :columns] for field in texture.at(float(x.mean()))))

    origins = np.array([disc.origin for disc in patient.discs])
    curve = np.concatenate([origins[:1] + [[0, 22, -60]], origins])  # the sacrum leads backwards below L5-S1
    behind = y - np.interp(z, curve[:, 2], curve[:, 1]).astype(np.float32)
    position = np.interp(z[:, :1], origins[:, 2], np.arange(len(origins)))
    image, depth = paint_trunk(x, behind, position, patient, patient.discs[1].infiltration, grain, step)

    flat, owner = image.reshape(2, -1), _nearest_disc(patient, y, z).ravel()
    for k in np.unique(owner):
        disc, here = patient.discs[k], np.flatnonzero(owner == k)
        u, dy, dz = (axis.ravel()[here] - np.float32(o) for axis, o in zip((x, y, z), disc.origin, strict=True))
        c, s = np.float32(np.cos(disc.tilt)), np.float32(np.sin(disc.tilt))
        v, w = c * dy + s * dz, c * dz - s * dy
        near = (np.abs(u) < 62) & (np.abs(v) < 60) & (w > -45)
        here = here[near]
        part, fields = flat[:, here], Grain(*(field.ravel()[here] for field in grain))
        paint_spine(part, u[near], v[near], w[near], disc, patient, fields, step)
        flat[:, here] = part
    signal = _received(image, x, behind, depth, patient)[WEIGHTINGS.index(weighting)]
    return ndimage.zoom(signal, factor, order=1, grid_mode=True, mode="nearest")


def _nearest_disc(patient: Patient, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Number of the disc between whose neighbouring mid-vertebral planes a point lies."""
    nearest = np.zeros(y.shape, int)
    for lower, upper in zip(patient.discs[:-1], patient.discs[1:], strict=True):
        middle = (np.array(lower.origin) + upper.origin) / 2
        tilt = (lower.tilt + upper.tilt) / 2
        nearest += (z - middle[2]) * np.cos(tilt) - (y - middle[1]) * np.sin(tilt) > 0
    return nearest


def _received(signal: np.ndarray, u: np.ndarray, v: np.ndarray, depth: np.ndarray, patient: Patient) -> np.ndarray:
    """Signal ``(2, ...)`` at the coil: less from deeper below the skin, little before the saturation band's edge."""
    edge = -2 * patient.discs[1].half_depth - patient.saturation
    coil = 0.25 + 0.75 * np.exp(-np.clip(depth - COIL_FLAT, 0, None) / patient.coil)
    coil *= (1 + np.float32(patient.coil_slope) * u) / (1 + (u / np.float32(COIL_HALF)) ** 2)
    bend = np.array(patient.bend, np.float32).reshape(2, *[1] * u.ndim)
    coil *= 0.04 + 0.96 / (1 + np.exp(-np.clip((v - edge) / 2.2, -30, 30)))
    return signal * (1 + bend * (1 - signal)) * coil


# --- grey values ----------------------------------------------------------------------------------------------------


def digitise(rng: np.random.Generator, signal: np.ndarray, patient: Patient) -> np.ndarray:
    """12-bit grey values: edges enhanced, as scanners' filters do it, and Rician noise."""
    real, imaginary = np.float32(patient.noise) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    real += signal
    inner = signal[1:-1, 1:-1]
    ring = signal[:-2, 1:-1] + signal[2:, 1:-1] + signal[1:-1, :-2] + signal[1:-1, 2:]
    real[1:-1, 1:-1] += np.float32(SHARPENING) * (inner - ring / 4)
    magnitude = np.sqrt(real * real + imaginary * imaginary) * np.float32(patient.gain)
    return np.minimum(magnitude, 4095).astype("<u2")


def sagittal_images(rng: np.random.Generator, patient: Patient, texture: Texture, offsets: np.ndarray) -> list[Image]:
    """T2 sagittal series, 384×384."""
    planes = sagittal_planes(patient, offsets, 0.78125, 384)
    return [(plane, digitise(rng, overview_signal(patient, texture, plane, 2, "T2"), patient)) for plane in planes]


def localizer_images(rng: np.random.Generator, patient: Patient, texture: Texture) -> list[Image]:
    """Two sagittal, a coronal and an axial T1 overview, 512×512."""
    size, pixel = 512, 0.68359375
    planes = sagittal_planes(patient, np.array([-12.0, 12.0]), pixel, size)
    x, y, z = patient.discs[2].origin
    half = pixel * (size - 1) / 2
    left, down, back = np.array([1.0, 0, 0]), np.array([0.0, 0, -1]), np.array([0.0, 1, 0])
    planes.append(Plane(np.array([x - half, y - 15, z + half]), left, down, pixel, size, size))
    planes.append(Plane(np.array([x - half, y + 15 - half, z]), left, back, pixel, size, size))
    return [(plane, digitise(rng, overview_signal(patient, texture, plane, 4, "T1"), patient)) for plane in planes]


def position_display(sagittal: Image, planes: list[Plane]) -> Image:
    """The scanner's screen that shows where the axial slices lie on a sagittal image."""
    view, pixels = sagittal
    pixels = pixels.copy()
    for plane in planes:
        middle = plane.position + plane.pixel * (plane.columns - 1) / 2 * plane.right
        steps = np.arange(0, plane.pixel * plane.rows, view.pixel / 2)
        relative = middle + steps[:, None] * plane.down - view.position
        j, i = (np.rint(relative @ axis / view.pixel).astype(int) for axis in (view.right, view.down))
        seen = (i >= 0) & (i < view.rows) & (j >= 0) & (j < view.columns)
        pixels[i[seen], j[seen]] = pixels.max()
    return view, pixels
