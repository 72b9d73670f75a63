"""Seeds named by purpose, so that no two uses of randomness share a stream."""

import hashlib


def derive_seed(*parts: object) -> int:
    """Hash the names and numbers in `parts` to a seed in [0, 2⁶³).

    The first 63 bits of the SHA-256 of their text, so that a seed can be found again anywhere.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
