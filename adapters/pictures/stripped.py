"""What the three formats have in common: a file without metadata, and what its header said."""

from typing import NamedTuple

# The profiles of print shops are about 650 kB; more is not there for its colours.
MOST_PROFILE_BYTES = 1 << 20
# An XMP packet of more is not read (an APP1 segment of a JPEG holds no more).
MOST_PACKET_BYTES = 65_000
UPRIGHT = 1


class Stripped(NamedTuple):
    """A file rebuilt from the parts that are needed to show it; pixel data are as they came.

    *exif* and *xmp* are what was taken out: the first may say that the pixels lie on their side,
    the second how the picture came to be. *lossless* tells how a WebP is to be encoded should it
    be turned.
    """

    data: bytes
    width: int
    height: int
    exif: bytes = b""
    lossless: bool = False
    xmp: bytes = b""
