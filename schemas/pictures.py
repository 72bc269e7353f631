"""How large a picture may be, whoever sends it: a worker's memory holds all of its pixels."""

MOST_PIXELS = 40_000_000
LONGEST_SIDE = 16_383  # a WebP has no more
