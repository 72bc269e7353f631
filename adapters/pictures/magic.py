"""Which format bytes begin as, told without Pillow: by them, never by what anybody claims."""

from adapters.pictures import jpeg, png


def format_of(data: bytes) -> str | None:
    """PNG, JPEG or WEBP; None for everything else."""
    if data.startswith(png.MAGIC):
        return "PNG"
    if data.startswith(jpeg.MAGIC):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return None
