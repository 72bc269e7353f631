"""Colours of light by time of day and mood; without it the parts of a picture would not agree.

Colours are kept as squares of sRGB values: close to linear light, and a square root brings them
back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from adapters.providers.sketch.noise import Array


def light(code: str) -> Array:
    """``"ff8a5c"`` as near-linear light."""
    values = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255
    return (values * values).astype(np.float32)


@dataclass(frozen=True)
class Palette:
    zenith: Array
    upper: Array
    horizon: Array
    sun: Array  # the light that falls on things
    ambient: Array  # the light in the shade
    haze: Array  # what distance fades to
    lamp: Array  # lit windows

    def tinted(self, shift: Array) -> Palette:
        """The same palette a shade warmer or cooler."""
        gains = np.exp(shift).astype(np.float32)
        lit = {f.name: getattr(self, f.name) * gains for f in fields(self) if f.name != "lamp"}
        return Palette(lamp=self.lamp, **lit)

    def in_fog(self) -> Palette:
        """The same hour in fog: less sun, and a pale cool grey of the same brightness all round."""
        grey = light("dde7f0")

        def faded(colour: Array, share: float) -> Array:
            pale: Array = grey * (colour.mean() / grey.mean())
            return (colour + (pale - colour) * np.float32(share)).astype(np.float32)

        haze = faded(self.haze, 0.6)
        return replace(
            self,
            zenith=self.zenith + (haze - self.zenith) * np.float32(0.45),
            upper=self.upper + (haze - self.upper) * np.float32(0.5),
            horizon=self.horizon + (haze - self.horizon) * np.float32(0.3),
            sun=self.sun * np.float32(0.85),
            ambient=faded(self.ambient, 0.8) * np.float32(1.3),
            haze=haze,
        )


# zenith, upper, horizon, sun, ambient, haze, lamp
PALETTES: dict[str, tuple[tuple[str, ...], ...]] = {
    "dawn": (
        ("5a7fb8", "b4bfdc", "ffd5b5", "ffdcae", "7d8bb4", "ecc9c4", "ffd28a"),
        ("47699f", "c3a9c8", "ffc2a6", "ffcf9e", "7a7fae", "e7b9bd", "ffd28a"),
        ("5a8cc0", "c4cfe0", "ffd9ac", "ffdcaa", "7488b0", "ecd0b8", "ffd28a"),
    ),
    "day": (
        ("2f74bd", "79b3e0", "d3eaf4", "fff3d6", "88a6c8", "c3dbea", "ffe0a0"),
        ("3a86c4", "8cc4e2", "e4f0ea", "fff0cc", "8eabbf", "cfe2e4", "ffe0a0"),
        ("2b66a8", "6fa4d6", "cfe0f2", "fff6e2", "8099c2", "b9cfe8", "ffe0a0"),
    ),
    "golden": (
        ("4f7cab", "e2b98c", "ffb765", "ffc473", "8a6f86", "f2b47c", "ffcf80"),
        ("3f5f93", "dc9a86", "ff9d5c", "ffb163", "7d628a", "ea9c78", "ffcf80"),
        ("5d90b0", "f0cf9c", "ffc978", "ffd084", "8c8088", "f4c894", "ffcf80"),
    ),
    "sunset": (
        ("34306f", "c2557e", "ff9350", "ff9a54", "6a4a84", "e07a6c", "ffc878"),
        ("2a3f7c", "b5688e", "ffa168", "ffa860", "62568e", "de8f86", "ffc878"),
        ("43265f", "d4506a", "ffab4a", "ffa44e", "6f4674", "e57a5c", "ffd084"),
    ),
    "dusk": (
        ("232c66", "6a5a9e", "f0948a", "e89aa0", "545a94", "a87a9e", "ffc878"),
        ("1c3664", "4f7198", "f2b183", "e0a58c", "4f6690", "9a8c9c", "ffc878"),
        ("2a2560", "86569a", "ff9c94", "f09aa0", "5c5090", "b87a9c", "ffcf8a"),
    ),
    "night": (
        ("0f1d4a", "24427f", "5c86b4", "bcd2ff", "46629e", "42659a", "ffc468"),
        ("121a4c", "333f88", "7c7fc0", "c8ccff", "525ca0", "5860a4", "ffc468"),
        ("0c2546", "1d5070", "58a0a4", "b8e6f0", "3f6e8e", "3d7888", "ffcb74"),
    ),
    "neon": (
        ("1a0f52", "6a2396", "ff5aa8", "ff7ac0", "553a9e", "a03f9e", "74f0ff"),
        ("0e1a5a", "3a3aa8", "f04ac0", "9a8cff", "443f9e", "7346b4", "ffe06a"),
        ("220d4c", "8e2380", "ff7a86", "ff8a9a", "5e3790", "b0488c", "7af6e6"),
    ),
    "storm": (
        ("2f3d4c", "566876", "b0bcb8", "dfe0cc", "5c6e7c", "8c9ba2", "ffd284"),
        ("343a52", "626c86", "c4b6ae", "ecd6bc", "646c86", "999ca8", "ffd284"),
    ),
    "overcast": (
        ("8296a6", "aebcc4", "dfe2dc", "f2ead8", "8c9ca8", "ccd3d3", "ffdc98"),
        ("7c92a0", "b2bdbc", "e8e2d0", "f4e8cc", "8e9a9e", "d3d2c8", "ffdc98"),
    ),
}


def choose(name: str, rng: np.random.Generator) -> Palette:
    """One of the named palettes and a slight tint; two draws whatever the name."""
    variants = PALETTES[name]
    variant = variants[int(rng.random() * len(variants))]
    warmth = np.float32((rng.random() - 0.5) * 0.16)
    palette = Palette(*(light(code) for code in variant))
    return palette.tinted(np.array([warmth, 0, -warmth], np.float32))
