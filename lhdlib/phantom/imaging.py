"""From tissues to grey values: planes, texture, coil, noise, sagittal and locator images."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lhdlib.phantom.anatomy import PIXEL, Patient, Slab
from lhdlib.phantom.painting import periphery, spine


class Texture:
    """Smooth unit-variance noise of three scales (about 8, 3 and 1.2 mm) that changes slowly along w."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]):
        self.fields = [[self._field(rng, shape, sigma) for _ in range(2)] for sigma in ((12, 12), (6, 3), (1.7, 1.7))]

    @staticmethod
    def _field(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
        step = max(1, int(min(sigma) / 2))
        coarse = rng.standard_normal([n // step + 2 for n in shape], dtype=np.float32)
        coarse = ndimage.gaussian_filter(coarse, [s / step for s in sigma], mode="wrap")
        return ndimage.zoom(coarse / coarse.std(), step, order=1)[: shape[0], : shape[1]]

    def at(self, w: float) -> list[np.ndarray]:
        """Three fields for a plane at height `w` (mm)."""
        waves = [w / length for length in (40, 14, 6)]
        return [
            a * np.float32(np.cos(t)) + b * np.float32(np.sin(t)) for (a, b), t in zip(self.fields, waves, strict=True)
        ]


# --- slices ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """Geometry of an image as DICOM states it: centre of the first pixel, unit row and column directions."""

    position: np.ndarray
    right: np.ndarray
    down: np.ndarray
    pixel: float
    rows: int
    columns: int


def axial_planes(patient: Patient, slab: Slab) -> list[Plane]:
    """Planes of a slab's slices, from the top."""
    c, s = np.cos(slab.tilt), np.sin(slab.tilt)
    right = np.array([np.cos(slab.roll), 0, np.sin(slab.roll)])
    normal = np.cross(right, [0, c, s])
    normal /= np.linalg.norm(normal)
    down = np.cross(normal, right)
    disc = patient.discs[slab.disc]
    middle = np.array(disc.origin) - 0.7 * disc.half_depth * np.array([0, np.cos(disc.tilt), np.sin(disc.tilt)])
    middle = middle + (0.7 * disc.half_depth + patient.centre[1]) * down + patient.centre[0] * right
    rows = 320
    corner = middle - PIXEL * ((patient.columns - 1) / 2 * right + (rows - 1) / 2 * down)
    return [Plane(corner + offset * normal, right, down, PIXEL, rows, patient.columns) for offset in slab.offsets]


def axial_image(patient: Patient, texture: Texture, slab: Slab, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Render one slice position: T1 and T2 signal ``(2, rows, columns)`` and the lesion mask."""
    disc = patient.discs[slab.disc]
    c, s = np.cos(disc.tilt), np.sin(disc.tilt)
    frame = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    turn = np.array([[np.cos(patient.rotation), np.sin(patient.rotation), 0], [0, 0, 0], [0, 0, 1]])
    turn[1] = [-turn[0, 1], turn[0, 0], 0]
    frame = turn @ frame
    start = frame @ (plane.position - disc.origin)
    across, along = PIXEL * (frame @ plane.right), PIXEL * (frame @ plane.down)
    i, j = np.arange(plane.rows, dtype=np.float32)[:, None], np.arange(plane.columns, dtype=np.float32)
    u, v, w = ((start[n] + across[n] * j + along[n] * i).astype(np.float32) for n in range(3))
    height = float(w[plane.rows // 2 + 18, plane.columns // 2])
    position = slab.disc + height / 36
    fields = texture.at(height + 36 * slab.disc)
    image, depth = periphery(u, v, position, patient, disc.infiltration, fields, PIXEL)
    # The spine alone is averaged over the slice thickness; around it one plane stands for the slice.
    inside_u, inside_v = (
        np.abs(u[plane.rows // 2]) < 62,
        (v[:, plane.columns // 2] > -40) & (v[:, plane.columns // 2] < 52),
    )
    box = np.s_[
        np.flatnonzero(inside_v)[0] : np.flatnonzero(inside_v)[-1],
        np.flatnonzero(inside_u)[0] : np.flatnonzero(inside_u)[-1],
    ]
    planes = np.array([-1.4, 0, 1.4], np.float32)
    deep = np.stack([image[(slice(None), *box)]] * len(planes), axis=1)
    boxed = [f[box] for f in fields]
    share = spine(deep, u[box][None], v[box][None], w[box][None] + planes[:, None, None], disc, patient, boxed, PIXEL)
    image[(slice(None), *box)] = deep.mean(axis=1)
    mask = np.zeros(u.shape, bool)
    mask[box] = share.mean(axis=0) >= 0.4
    return _receive(image, v, depth, patient), mask


def _receive(image: np.ndarray, v: np.ndarray, depth: np.ndarray, patient: Patient) -> np.ndarray:
    """Coil sensitivity, which falls with the depth below the skin, and the anterior saturation band."""
    edge = -2 * patient.discs[1].half_depth - patient.saturation
    coil = 0.25 + 0.75 * np.exp(-np.clip(depth, 0, None) / patient.coil)
    return image * (coil * (0.04 + 0.96 / (1 + np.exp(-np.clip((v - edge) / 2.2, -30, 30)))))


def coarse_image(patient: Patient, texture: Texture, plane: Plane, factor: int, channel: int) -> np.ndarray:
    """Render T1 (0) or T2 (1) of a sagittal, coronal or axial plane on a grid coarser by `factor`, then enlarge it."""
    rows, columns = plane.rows // factor, plane.columns // factor
    step = plane.pixel * factor
    i, j = (np.arange(n) * step + (step - plane.pixel) / 2 for n in (rows, columns))
    points = plane.position + i[:, None, None] * plane.down + j[:, None] * plane.right
    x, y, z = np.moveaxis(points, -1, 0).astype(np.float32)
    origins = np.array([disc.origin for disc in patient.discs])
    # A point belongs to the disc between whose neighbouring mid-vertebral planes it lies.
    owner = np.zeros(x.shape, int)
    for lower, upper in zip(patient.discs[:-1], patient.discs[1:], strict=True):
        middle = (np.array(lower.origin) + upper.origin) / 2
        tilt = (lower.tilt + upper.tilt) / 2
        owner += (z - middle[2]) * np.cos(tilt) - (y - middle[1]) * np.sin(tilt) > 0
    below = origins[:1] + [[0, 22, -60]]
    known = np.concatenate([below, origins])
    behind = y - np.interp(z, known[:, 2], known[:, 1]).astype(np.float32)
    # Height, hence the level, is the same along a row of every plane that is rendered this way.
    position = np.interp(z[:, :1], origins[:, 2], np.arange(len(origins)))
    fields = [field[:rows, :columns] for field in texture.at(float(x.mean()))]
    infiltration = patient.discs[1].infiltration
    image, depth = periphery(x, behind, position, patient, infiltration, fields, step)
    for k in np.unique(owner):
        disc, here = patient.discs[k], np.flatnonzero(owner == k)
        u, dy, dz = (axis.ravel()[here] - np.float32(o) for axis, o in zip((x, y, z), disc.origin, strict=True))
        c, s = np.float32(np.cos(disc.tilt)), np.float32(np.sin(disc.tilt))
        v, w = c * dy + s * dz, c * dz - s * dy
        near = (np.abs(u) < 62) & (np.abs(v) < 60) & (w > -45)
        here, part = here[near], image.reshape(2, -1)[:, here[near]]
        spine(part, u[near], v[near], w[near], disc, patient, [f.ravel()[here] for f in fields], step)
        image.reshape(2, -1)[:, here] = part
    signal = _receive(image[channel], behind, depth, patient)
    return ndimage.zoom(signal, factor, order=1, grid_mode=True, mode="nearest")


def digitise(rng: np.random.Generator, signal: np.ndarray, patient: Patient) -> np.ndarray:
    """Edge enhancement, as scanners' filters do it, Rician noise, and 12-bit integers."""
    real, imaginary = np.float32(patient.noise) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    real += signal
    inner = signal[1:-1, 1:-1]
    ring = signal[:-2, 1:-1] + signal[2:, 1:-1] + signal[1:-1, :-2] + signal[1:-1, 2:]
    real[1:-1, 1:-1] += np.float32(0.55) * (inner - ring / 4)
    magnitude = np.sqrt(real * real + imaginary * imaginary) * np.float32(patient.gain)
    return np.minimum(magnitude, 4095).astype("<u2")


def sagittal_planes(patient: Patient, offsets: np.ndarray, pixel: float, size: int) -> list[Plane]:
    """Sagittal planes at distances from the middle of the spine."""
    origin = np.array(patient.discs[2].origin)
    right, down = np.array([0.0, 1, 0]), np.array([0.0, 0, -1])
    corner = origin + [0, 25, 0] - pixel * (size - 1) / 2 * (right + down)
    return [Plane(corner + [x, 0, 0], right, down, pixel, size, size) for x in offsets]


def localizer(rng: np.random.Generator, patient: Patient, texture: Texture) -> list[tuple[Plane, np.ndarray]]:
    """Two sagittal, a coronal and an axial overview."""
    size, pixel = 512, 0.68359375
    planes = sagittal_planes(patient, np.array([-12.0, 12.0]), pixel, size)
    x, y, z = patient.discs[2].origin
    half = pixel * (size - 1) / 2
    left, down, back = np.array([1.0, 0, 0]), np.array([0.0, 0, -1]), np.array([0.0, 1, 0])
    planes.append(Plane(np.array([x - half, y - 15, z + half]), left, down, pixel, size, size))
    planes.append(Plane(np.array([x - half, y + 15 - half, z]), left, back, pixel, size, size))
    return [(plane, digitise(rng, coarse_image(patient, texture, plane, 4, 0), patient)) for plane in planes]


def position_display(sagittal: tuple[Plane, np.ndarray], planes: list[Plane]) -> tuple[Plane, np.ndarray]:
    """The scanner's screen that shows where the axial slices lie on a sagittal image."""
    view, pixels = sagittal
    pixels = pixels.copy()
    for plane in planes:
        middle = plane.position + PIXEL * (plane.columns - 1) / 2 * plane.right
        steps = np.arange(0, PIXEL * plane.rows, view.pixel / 2)
        relative = middle + steps[:, None] * plane.down - view.position
        j, i = (np.rint(relative @ axis / view.pixel).astype(int) for axis in (view.right, view.down))
        seen = (i >= 0) & (i < view.rows) & (j >= 0) & (j < view.columns)
        pixels[i[seen], j[seen]] = pixels.max()
    return view, pixels
