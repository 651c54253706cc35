"""Ed25519 (RFC 8032), verification only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
# A function of a public key, a message and a signature: whether the key signed the message.
IsSigned = Callable[[bytes, bytes, bytes], bool]
# A point as (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z.
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def _add(a: _Point, b: _Point) -> _Point:
    m = (a[1] - a[0]) * (b[1] - b[0]) % _P
    n = (a[1] + a[0]) * (b[1] + b[0]) % _P
    t, z = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = n - m, z - t, z + t, n + m
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _decompress(data: bytes) -> _Point | None:
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _compress(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    number: int = y | (x & 1) << 255
    return number.to_bytes(32, "little")


_BASE = _decompress((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little")) or _NEUTRAL


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key made this signature. False for encodings that RFC 8032 forbids."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    point, s = _decompress(public_key), int.from_bytes(signature[32:], "little")
    if point is None or s >= _L:
        return False
    double = _add(point, point)
    times_four = _add(double, double)
    if _compress(_add(times_four, times_four)) == _compress(_NEUTRAL):
        # With a key of small order, anything can be made to look signed.
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    minus = (_P - point[0], point[1], 1, _P - point[3])
    # s·B − k·A, computed together.
    table = (_NEUTRAL, _BASE, minus, _add(_BASE, minus))
    result: _Point = _NEUTRAL
    for bit in range(max(s.bit_length(), k.bit_length()) - 1, -1, -1):
        result = _add(result, result)
        which = (s >> bit & 1) | (k >> bit & 1) << 1
        if which:
            result = _add(result, table[which])
    return _compress(result) == signature[:32]
