"""Sound pictures, made here: with everything in them that a file can hold beside its pixels."""

import io
import struct
from collections.abc import Callable

from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

SECRETS = (b"GPS-52.5200", b"a prompt that nobody shall read", b"trailing tracker")
GPS, PROMPT, TRAILER = SECRETS
SIZE = (200, 150)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def painting(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture in which every part looks different from every other."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    bands = (across, down, Image.radial_gradient("L"))
    image = Image.merge("RGB", bands).resize(size)
    ImageDraw.Draw(image).ellipse((5, 5, 5 + size[0] // 3, 5 + size[1] // 4), fill=(250, 20, 120))
    if mode in {"RGBA", "LA"}:
        image.putalpha(down.resize(size))
    return image.convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = PROMPT.decode()
    tags.get_ifd(0x8825)[0x001D] = GPS.decode()
    return tags


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_with_everything(mode: str = "RGB") -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", PROMPT.decode())
    text.add_itxt("XML:com.adobe.xmp", PROMPT.decode(), zip=False)
    text.add(b"prVt", PROMPT)
    data = saved(painting(mode), "PNG", pnginfo=text, exif=exif(), icc_profile=SRGB, dpi=(72, 72))
    return data + TRAILER


def jpeg_with_everything(mode: str = "RGB", **options: object) -> bytes:
    data = saved(
        painting(mode),
        "JPEG",
        exif=exif(),
        xmp=PROMPT,
        comment=PROMPT,
        icc_profile=None if mode == "CMYK" else SRGB,
        **options,
    )
    thumbnail = b"JFIF\0\1\2\0\0\1\0\1\2\1" + GPS[:6]
    photoshop = b"Photoshop 3.0\0" + PROMPT
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in ((0xE0, thumbnail), (0xED, photoshop), (0xE2, b"FPXR\0" + GPS))
    )
    return data[:2] + segments + data[2:] + TRAILER


def webp_with_everything(mode: str = "RGB", **options: object) -> bytes:
    image = painting(mode)
    return saved(image, "WEBP", exif=exif(), xmp=PROMPT, icc_profile=SRGB, **options) + TRAILER


DELIVERED: dict[str, Callable[[], bytes]] = {
    "png": png_with_everything,
    "png with alpha": lambda: png_with_everything("RGBA"),
    "png with palette": lambda: png_with_everything("P"),
    "png grey": lambda: png_with_everything("L"),
    "jpeg": jpeg_with_everything,
    "jpeg progressive": lambda: jpeg_with_everything(progressive=True),
    "jpeg with restarts": lambda: jpeg_with_everything(restart_marker_rows=1),
    "jpeg grey": lambda: jpeg_with_everything("L"),
    "jpeg cmyk": lambda: jpeg_with_everything("CMYK"),
    "webp": webp_with_everything,
    "webp with alpha": lambda: webp_with_everything("RGBA"),
    "webp lossless": lambda: webp_with_everything("RGBA", lossless=True),
}


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
