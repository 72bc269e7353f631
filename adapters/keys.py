"""Object keys, the same for every blob store: without it a key could lead out of its bucket."""

MOST_KEY_BYTES = 1024
MOST_NAME_BYTES = 255


def key_names(key: str) -> list[str]:
    """The names between a key's slashes; `ValueError` for what is no relative, plain key."""
    names = key.split("/")
    if (
        "\0" in key
        or len(key.encode()) > MOST_KEY_BYTES
        or any(
            not name or name.startswith(".") or len(name.encode()) > MOST_NAME_BYTES
            for name in names
        )
    ):
        raise ValueError(f"not a key of an object: {key!r}")
    return names
