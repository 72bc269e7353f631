"""Mountains, hills and dunes as a lit height field seen in perspective; without it, no ground."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch import relief, soil
from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.ground import Ground, project
from adapters.providers.sketch.noise import Array, rough_texture, stream, texture
from adapters.providers.sketch.palette import Palette
from adapters.providers.sketch.sky import Light
from adapters.providers.sketch.slices import Indices, Seen, Stretch, lay, look
from adapters.providers.sketch.woods import Row, plant, wooded

_SMALL = 480  # pixels of width


def paint_land(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    sun: Light,
    nearest: float,
    key: str,
) -> Ground:
    """Paint the ground over the sky, from *nearest* ground units away to the far hills."""
    rng = stream(key, "land")
    tile, fine = texture(rng), rough_texture(rng, 0.66)
    where = rng.random(8, dtype=np.float32)
    columns = max(24, min(frame.width, round(frame.columns * 2 * frame.half)))
    u = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * np.float32(2 * frame.half)
    distance = np.geomspace(nearest, max(64.0, nearest * 3), frame.slices).astype(np.float32)
    z = distance[:, None]
    x = u[None, :] * z
    site = relief.Site(x, np.broadcast_to(z, x.shape), u[None, :] / frame.half, nearest)
    height = relief.SHAPES[brief.land](site, tile, where).astype(np.float32)
    ground = Ground(u, distance, height, project(height, z, horizon, frame))
    # thin trees need more columns than a small picture has
    over = 2 if wooded(brief) and (frame.slices > 300 or frame.width < _SMALL) else 1
    stretch = Stretch.between(columns, frame.width * over)
    tops = stretch.all(ground.tops)
    rows = plant(brief, palette, frame, horizon, sun, ground, stretch, tile, key)
    at = np.array([row.index + 1 for row in rows], np.int64)
    if rows:
        tops = np.insert(tops, at, np.stack([row.tops for row in rows]), axis=0)
    seen = look(tops, frame)
    lay(canvas, frame, seen, _colours(brief, palette, ground, sun, fine, tile, stretch, seen, rows))
    return ground


def _colours(
    brief: Brief,
    palette: Palette,
    ground: Ground,
    sun: Light,
    fine: Array,
    tile: Array,
    stretch: Stretch,
    seen: Seen,
    rows: list[Row],
) -> Array:
    """Colours of the seen points, of ground and of trees: channels x points."""
    columns = ground.u.size
    # which row of trees each slice is, or else which slice of the ground
    own = np.full(ground.distance.size, -1)
    own = np.insert(own, [row.index + 1 for row in rows], np.arange(len(rows)))
    slice_of = np.cumsum(own < 0) - 1
    kind = own[seen.slice]
    bare = kind < 0
    shown = slice_of[seen.slice]
    # the last slice before a gap may lie past the crest, in another light: it gets its neighbour's
    edge = np.append((seen.column[1:] != seen.column[:-1]) | (shown[1:] > shown[:-1] + 1), True)
    shown = np.maximum(shown - edge, 0)
    left = shown[bare] * columns + stretch.left[seen.column[bare]]
    part = stretch.part[seen.column[bare]]
    needed = np.zeros(ground.height.size, bool)
    needed[left] = True
    between = bool(part.any())
    if between:
        needed[left + 1] = True
    points = np.flatnonzero(needed)
    place = np.empty(needed.size, np.int32)
    place[points] = np.arange(points.size, dtype=np.int32)
    side = -1.0 if sun.u < 0 else 1.0
    lit = soil.colour(brief, palette, _spots(ground, points), side, fine, tile)
    colours = np.empty((3, seen.column.size), np.float32)
    first = place[left]
    second = place[left + 1] if between else first
    leaves = ~bare
    trees = np.stack([row.colours for row in rows]) if rows else None
    for channel in range(3):
        values = lit[channel].take(first)
        if between:
            values += (lit[channel].take(second) - values) * part
        colours[channel, bare] = values
        if trees is not None:
            colours[channel, leaves] = trees[kind[leaves], channel, seen.column[leaves]]
    return colours


def _spots(ground: Ground, points: Indices) -> soil.Spots:
    """What the colours of some points (of slices x columns, in a row) need to know."""
    row, column = np.divmod(points, ground.u.size)
    flat = ground.height.reshape(-1)
    z = ground.distance[row]
    height = flat[points]
    before = np.where(column > 0, points - 1, points)
    after = np.where(column < ground.u.size - 1, points + 1, points)
    width = (after - before) * (ground.u[1] - ground.u[0])
    # what is seen of a slice lies between it and the nearer one: the ground behind a crest
    # falls away and would give its light to a crest that does not face it
    nearer = np.maximum(row - 1, 0)
    deep = ground.distance[np.maximum(row, 1)] - ground.distance[nearer]
    return soil.Spots(
        z,
        ground.u[column] * z,
        height,
        (flat[after] - flat[before]) / (z * width.astype(np.float32)),
        (ground.height[np.maximum(row, 1), column] - ground.height[nearer, column]) / deep,
    )
