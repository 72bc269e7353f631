"""Paints a scene from words and a seed; without it the offline provider has nothing to show."""

from __future__ import annotations

import io

from PIL import Image

from adapters.providers.sketch import finish, guided, style
from adapters.providers.sketch.bridge import paint_bridge
from adapters.providers.sketch.brief import Brief, read
from adapters.providers.sketch.city import paint_city
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.ground import EYE
from adapters.providers.sketch.land import paint_land
from adapters.providers.sketch.landmarks import paint_cabin, paint_windmill
from adapters.providers.sketch.lighthouse import paint_lighthouse
from adapters.providers.sketch.noise import Array, stream
from adapters.providers.sketch.palette import choose
from adapters.providers.sketch.request import Sketch
from adapters.providers.sketch.sky import paint_sky, place_light
from adapters.providers.sketch.subjects import Scene, paint_balloons, paint_birds, paint_boats
from adapters.providers.sketch.water import paint_water
from adapters.providers.sketch.weather import paint_weather

# slices of a landscape and columns in one unit: the shapes are the same, their edges coarser
_FINENESS = {"draft": (256, 320), "final": (520, 430)}


def paint(sketch: Sketch) -> Image.Image:
    """An RGB image of exactly the asked size; the same arguments give the same pixels."""
    source = guided.fitted(sketch.source, sketch) if sketch.source is not None else None
    if source is not None and sketch.strategy == "upscale":
        return source
    frame = Frame(sketch.width, sketch.height, *_FINENESS[sketch.detail])
    display = style.apply(scene(sketch, frame), frame, sketch.style)
    if source is not None and sketch.strategy == "image_to_image":
        display = guided.guide(display, source, frame)
    return Image.fromarray(finish.to_bytes(display))


def paint_png(sketch: Sketch) -> bytes:
    """The picture as PNG."""
    return png(paint(sketch))


def encoded(image: Image.Image, most_bytes: int) -> bytes:
    """*image* as PNG, or, where that had more than *most_bytes*, nearly as it is in less."""
    data = png(image)
    if len(data) <= most_bytes:
        return data
    buffer = io.BytesIO()
    if image.mode == "RGBA":  # a JPEG has no transparency
        image.save(buffer, "WEBP", quality=90, method=2)
    else:
        image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def scene(sketch: Sketch, frame: Frame) -> Array:
    """What the words and the seed of *sketch* say, as display values."""
    key = f"{' '.join(sketch.prompt.lower().split())}\x1f{sketch.seed}"
    return _scene(read(sketch.prompt, sketch.negative_prompt, key), frame, key)


def _scene(brief: Brief, frame: Frame, key: str) -> Array:
    rng = stream(key, "composition")
    draw = [float(x) for x in rng.random(4)]
    palette = choose(brief.palette, stream(key, "palette"))
    if brief.has("fog"):
        palette = palette.in_fog()
    wet = brief.water != "none"
    horizon = {"lake": 0.50, "sea": 0.56, "none": 0.56}[brief.water] + 0.05 * (draw[0] - 0.5)
    nearest = 1.5
    shore = None
    if wet:
        nearest = 26.0 if brief.land == "city" or brief.water == "sea" else 7.0 + 4 * draw[1]
        shore = horizon + EYE / nearest * frame.scale
    sun = place_light(brief, frame, horizon, key)
    canvas = paint_sky(brief, palette, frame, horizon, sun, key)
    ground = None
    if brief.land != "none":
        ground = paint_land(canvas, brief, palette, frame, horizon, sun, nearest, key)
    if brief.land == "city":
        paint_city(canvas, brief, palette, frame, horizon, shore, sun, key)
    scene = Scene(brief, palette, frame, horizon, sun, key)
    if ground is not None and brief.has("cabin"):
        paint_cabin(canvas, scene, ground)
    if shore is not None:
        paint_water(canvas, brief, palette, frame, shore, sun, key)
    if ground is not None and brief.has("windmill"):
        paint_windmill(canvas, scene, ground)
    if brief.has("bridge") and shore is not None:
        paint_bridge(canvas, scene)
    if brief.has("boats") and shore is not None:
        paint_boats(canvas, scene, shore)
    if brief.has("lighthouse"):
        paint_lighthouse(canvas, scene)
    if brief.has("balloons"):
        paint_balloons(canvas, scene)
    if brief.has("birds"):
        paint_birds(canvas, scene)
    paint_weather(canvas, brief, palette, frame, horizon, sun, key)
    finish.bloom(canvas, frame, 0.35)
    return finish.tone(canvas, frame)
