"""Color spaces by the code points of ITU-T H.273 (CICP), as PNG, AVIF and HEIC name them, as ICC profiles."""

import functools
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

_D65 = (0.3127, 0.3290)
_PRIMARIES = {  # red, green, blue, white: chromaticities x, y
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),  # BT.709, sRGB
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # BT.601, 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # SMPTE 240M
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),  # Display P3
}
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_WHITE = 203.0  # cd/m² of white paper in an HDR image (ITU-R BT.2408); what is brighter is white
_ENTRIES = 4096


def _srgb(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _pq(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """SMPTE ST 2084, 10,000 cd/m² at most."""
    power = signal ** (1 / 78.84375)
    light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return 10_000 / _WHITE * light ** (1 / 0.1593017578125)


def _hlg(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ARIB STD-B67 on a display of 1,000 cd/m², whose system gamma is 1.2."""
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return 1_000 / _WHITE * np.where(signal <= 0.5, signal**2 / 3, bright) ** 1.2


_CURVES: dict[int, _Curve] = {
    # The curves of video cameras are shown as sRGB, as browsers do.
    **dict.fromkeys((1, 6, 13, 14, 15), _srgb),
    4: lambda signal: signal**2.2,
    5: lambda signal: signal**2.8,
    8: lambda signal: signal,
    16: _pq,
    18: _hlg,
}


@functools.cache
def profile_of_cicp(primaries: int, transfer: int) -> bytes | None:
    """Return an ICC profile of these code points; None: sRGB, unspecified or unknown.

    Images of high dynamic range (PQ, HLG) are shown up to the white of paper; brighter highlights are white.
    """
    colors, curve = _PRIMARIES.get(primaries), _CURVES.get(transfer)
    if colors is None or curve is None or (primaries == 1 and curve is _srgb):
        return None
    samples = np.clip(curve(np.linspace(0, 1, _ENTRIES)), 0, 1)
    shape = (
        b"curv" + bytes(4) + struct.pack(f">I{_ENTRIES}H", _ENTRIES, *np.rint(65535 * samples).astype(int))
    )
    matrix = _to_d50(*(np.array([x / y, 1, (1 - x - y) / y]) for x, y in colors))
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)}
    return _icc(tags, shape)


def _to_d50(
    red: npt.NDArray[np.float64],
    green: npt.NDArray[np.float64],
    blue: npt.NDArray[np.float64],
    white: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ, adapted to the white of ICC profiles."""
    columns = np.stack([red, green, blue], axis=1)
    scaled = columns * np.linalg.solve(columns, white)
    gains = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapted: npt.NDArray[np.float64] = np.linalg.solve(_BRADFORD, gains[:, None] * (_BRADFORD @ scaled))
    return adapted


def _xyz(values: npt.ArrayLike) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *np.rint(65536 * np.asarray(values)).astype(int))


def _icc(tags: dict[bytes, bytes], shape: bytes) -> bytes:
    """Return a display profile of version 2 with these tags and one curve for the three channels."""
    contents = [*tags.items(), (b"rTRC", shape), (b"gTRC", b""), (b"bTRC", b"")]
    place, table, body = 132 + 12 * len(contents), b"", b""
    for name, content in contents:
        start = place + len(body) - (0 if content else len(shape))
        table += struct.pack(">4sII", name, start, len(content or shape))
        body += content
    header = struct.pack(
        ">I4sI4s4s4s12s4s28x3i48x",
        *(place + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"", b"acsp"),
        *np.rint(65536 * np.array(_D50)).astype(int),
    )
    return header + struct.pack(">I", len(contents)) + table + body
