"""Ways to store a block without loss: a predictor, then a codec of numcodecs, Pillow, imagecodecs ...

Blocks are ``(T, C, H, W)``. Letters: T frames, C bands, H rows, W columns.
"""

from __future__ import annotations

import importlib.util
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from _blocks import BANDS, COARSE, FINE, doubled
from numpy.typing import NDArray

Array = NDArray[np.generic]
TEN, TWENTY = ([BANDS.index(name) for name in names] for names in (FINE, COARSE))
AXES = {"t": 0, "b": 1, "y": 2, "x": 3}
SUMMED = {1: "u1", 2: "i2", 4: "i4"}  # words that torch can sum; modulo the word, the sign makes no difference


def residual(block: Array, axes: str, zigzag: bool) -> Array:
    """What a predictor leaves over: differences along the axes in turn, modulo the word.

    Along ``"yx"`` this predicts left + up - corner. ``zigzag`` maps 0, -1, 1, -2 ... to 0, 1, 2, 3 ..., so that small
    differences of either sign have their upper bits empty. Words are unsigned: what is signed is reinterpreted.
    """
    out = block.view(f"u{block.dtype.itemsize}")
    for axis in axes:
        at = AXES[axis]
        first, last = [slice(None)] * 4, [slice(None)] * 4
        first[at], last[at] = slice(None, -1), slice(1, None)
        less = out.copy()
        np.subtract(out[tuple(last)], out[tuple(first)], out=less[tuple(last)])
        out = less
    if zigzag:
        signed = out.view(f"i{out.dtype.itemsize}")
        out = ((signed << 1) ^ (signed >> (8 * out.dtype.itemsize - 1))).view(out.dtype)
    return out


def restored(out: Array, axes: str, zigzag: bool, dtype: np.dtype[Any]) -> Array:
    """The block that left this residual."""
    if not axes and not zigzag:
        return out.view(dtype)
    if zigzag:
        sign = out & out.dtype.type(1)
        np.negative(sign, out=sign)
        out = out >> out.dtype.type(1)
        out ^= sign
    else:
        out = out.copy()  # the codec's own buffer may be read-only
    sums = torch.from_numpy(out.view(SUMMED[out.dtype.itemsize]))
    for axis in reversed(axes):
        torch.cumsum(sums, AXES[axis], dtype=sums.dtype, out=sums)  # 3 to 5 times the speed of NumPy's
    return out.view(dtype)


@dataclass(frozen=True)
class Codec:
    """One way to store a block.

    Attributes:
        name: what the table says.
        encode: a block to its stored bytes.
        decode: stored bytes, shape and dtype to the block; the shape and dtype stand in a store's index.
        takes: kinds of dtype that it can store (``"u"``, ``"i"``, ``"f"``).
        words: bytes of a word, of the dtypes that it can store.
        colours: only blocks of three bands and one frame.
        library: what has to be installed, beside NumPy and torch.
    """

    name: str
    encode: Callable[[Array], bytes]
    decode: Callable[[bytes, tuple[int, ...], np.dtype[Any]], Array]
    takes: str = "uif"
    words: tuple[int, ...] = (1, 2, 4)
    colours: bool = False
    library: str = ""

    def can(self, block: Array) -> bool:
        """Whether this block can be stored so."""
        fits = block.dtype.kind in self.takes and block.dtype.itemsize in self.words
        if self.name.startswith("t") and len(block) == 1:
            return False
        if self.name.startswith("native"):
            return (
                fits
                and block.shape[1] == len(BANDS)
                and np.array_equal(block[:, TWENTY], doubled(_every_second(block)))
            )
        return fits and (not self.colours or block.shape[:2] == (1, 3))


def _predicted(name: str, axes: str, zigzag: bool, pack: Callable, unpack: Callable, takes: str = "ui") -> Codec:
    """A codec for bytes behind a predictor; ``unpack(bytes, word)`` gives bytes or words of the residual."""

    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        word = np.dtype(f"u{dtype.itemsize}") if axes or zigzag else dtype
        return restored(np.frombuffer(unpack(data, word), word).reshape(shape), axes, zigzag, dtype)

    label = "+".join(filter(None, [axes, "zigzag" if zigzag else "", name]))
    return Codec(
        label,
        lambda block: bytes(pack(residual(block, axes, zigzag) if axes or zigzag else block)),
        decode,
        takes if axes or zigzag else "uif",
    )


def _numcodecs() -> list[Codec]:
    """What comes with zarr: zstd, lz4, and Blosc with either shuffle, alone and behind predictors."""
    import numcodecs

    numcodecs.blosc.use_threads = False
    shuffles = {"byte": numcodecs.Blosc.SHUFFLE, "bit": numcodecs.Blosc.BITSHUFFLE}
    found = []
    best = numcodecs.Blosc("zstd", 5, shuffles["bit"])
    found.append(_native("blosc(zstd5,bit)", best.encode, lambda d, _: best.decode(d)))
    for level in (1, 3, 9, 19):
        zstd = numcodecs.Zstd(level)
        found.append(_predicted(f"zstd{level}", "", False, zstd.encode, lambda d, _, z=zstd: z.decode(d)))
    found.append(_predicted("lz4", "", False, numcodecs.LZ4().encode, lambda d, _: numcodecs.LZ4().decode(d)))
    found.append(_predicted("deflate6", "", False, numcodecs.Zlib(6).encode, lambda d, _: numcodecs.Zlib(6).decode(d)))
    found.append(_predicted("deflate6", "x", False, numcodecs.Zlib(6).encode, lambda d, _: numcodecs.Zlib(6).decode(d)))
    for engine, level in (("lz4", 5), ("zstd", 1), ("zstd", 5), ("zstd", 9)):
        for kind, shuffle in shuffles.items():
            blosc = numcodecs.Blosc(engine, level, shuffle)
            for axes, zigzag in (("", False), ("x", False), ("x", True), ("yx", True), ("byx", True), ("tyx", True)):
                if level == 9 and axes not in ("", "yx", "byx"):
                    continue
                name = f"blosc({engine}{level},{kind})"
                found.append(_predicted(name, axes, zigzag, blosc.encode, lambda d, _, z=blosc: z.decode(d)))
    return found


def planes(block: Array) -> bytes:
    """All lower bytes, then all upper ones."""
    return block.view(np.uint8).reshape(-1, block.dtype.itemsize).T.tobytes()


def joined(data: bytes, word: np.dtype[Any]) -> Array:
    """The words of planes of bytes."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(word.itemsize, -1).T).view(word)


def _plain() -> list[Codec]:
    """Planes of bytes with Python's own deflate: no library at all."""
    return [
        _predicted(
            f"planes+deflate{level}",
            axes,
            True,
            lambda block, level=level: zlib.compress(planes(block), level),
            lambda data, word: joined(zlib.decompress(data), word),
        )
        for level in (1, 6)
        for axes in ("yx", "byx")
    ]


def _every_second(block: Array) -> Array:
    """The 20 m bands of ten on one grid, on their own."""
    return block[:, TWENTY, ::2, ::2]


def _native(name: str, pack: Callable, unpack: Callable) -> Codec:
    """20 m bands that the source repeated, stored once; every band behind left + up - corner."""

    def encode(block: Array) -> bytes:
        parts = (residual(np.ascontiguousarray(part), "yx", True) for part in (block[:, TEN], _every_second(block)))
        return bytes(pack(np.concatenate([part.ravel() for part in parts])))

    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        count, _, rows, cols = shape
        words = np.frombuffer(unpack(data, dtype), dtype)
        middle = count * len(TEN) * rows * cols
        out = np.empty(shape, dtype)
        out[:, TEN] = restored(words[:middle].reshape(count, len(TEN), rows, cols), "yx", True, dtype)
        coarse = restored(words[middle:].reshape(count, len(TWENTY), rows // 2, cols // 2), "yx", True, dtype)
        fourfold = out.reshape(count, len(BANDS), rows // 2, 2, cols // 2, 2)
        fourfold[:, TWENTY] = coarse[:, :, :, None, :, None]
        return out

    return Codec(f"native 20 m+yx+zigzag+{name}", encode, decode, "u", (2,))


def _pillow() -> list[Codec]:
    """WebP without loss by Pillow."""
    import io

    from PIL import Image

    def encode(image: Array, method: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "WEBP", lossless=True, method=method, quality=50)
        return file.getvalue()

    def decode(data: bytes) -> Array:
        return np.asarray(Image.open(io.BytesIO(data)))

    return [_coloured(f"pillow webp m{method}", lambda a, m=method: encode(a, m), decode) for method in (0, 2, 4)]


def _pcodec() -> list[Codec]:
    """Pcodec, made for columns of numbers: words of 2 and 4 bytes."""
    from pcodec import ChunkConfig, DeltaSpec, standalone

    found = []
    for level in (4, 8):
        for axes in ("", "yx", "byx"):
            spec = DeltaSpec.no_op() if axes else DeltaSpec.auto()
            config = ChunkConfig(level, delta_spec=spec)

            def pack(block: Array, config: Any = config) -> bytes:
                return bytes(standalone.simple_compress(block.ravel(), config))

            one = _predicted(f"pcodec{level}", axes, False, pack, lambda d, _: standalone.simple_decompress(d))
            found.append(Codec(one.name, one.encode, one.decode, one.takes, (2, 4)))
    return found


def _blosc2() -> list[Codec]:
    """Blosc2's chunk functions with bit shuffle."""
    import blosc2

    def pack(block: Array) -> bytes:
        return blosc2.compress2(
            block,
            codec=blosc2.Codec.ZSTD,
            clevel=5,
            typesize=block.dtype.itemsize,
            filters=[blosc2.Filter.BITSHUFFLE],
            nthreads=1,
        )

    unpack = lambda d, _: blosc2.decompress2(d, nthreads=1)  # noqa: E731
    return [_predicted("blosc2(zstd5,bit)", axes, bool(axes), pack, unpack) for axes in ("", "yx")]


def _zstandard() -> list[Codec]:
    """Zstandard's own binding; a decoder kept by each thread costs less a call, shared ones corrupt the data."""
    import zstandard

    kept, found = threading.local(), []

    def read(data: bytes) -> bytes:
        if not hasattr(kept, "reader"):
            kept.reader = zstandard.ZstdDecompressor()
        return kept.reader.decompress(data)

    for level in (1, 3, 9):
        writer = zstandard.ZstdCompressor(level=level)
        found.append(_predicted(f"zstandard{level}", "", False, writer.compress, lambda d, _: read(d)))
        for axes in ("yx", "byx"):
            found.append(
                _predicted(
                    f"planes+zstandard{level}",
                    axes,
                    True,
                    lambda block, writer=writer: writer.compress(planes(block)),
                    lambda data, word: joined(read(data), word),
                )
            )
    return found


def _tall(name: str, encode: Callable, decode: Callable, axes: str = "") -> Codec:
    """A codec for grey images of 8 or 16 bits: all bands and frames one below the other.

    The top bit is turned over, which puts signed words and differences in order around the middle.
    """

    def turned(words: Array) -> Array:
        return words ^ words.dtype.type(1 << (8 * words.dtype.itemsize - 1))

    def pack(block: Array) -> bytes:
        plain = turned(residual(block, axes, False))
        return bytes(encode(np.ascontiguousarray(plain.reshape(-1, plain.shape[-1]))))

    def unpack(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return restored(turned(decode(data)).reshape(shape), axes, False, dtype)

    return Codec(f"{axes}+{name}" if axes else name, pack, unpack, "ui", (1, 2))


def _coloured(name: str, encode: Callable, decode: Callable) -> Codec:
    """A codec for colour images: bands last."""
    return Codec(
        name,
        lambda block: bytes(encode(np.ascontiguousarray(np.moveaxis(block[0], 0, -1)))),
        lambda data, shape, dtype: np.moveaxis(decode(data), -1, 0)[None],
        "u",
        (1,),
        colours=True,
    )


def _imagecodecs() -> list[Codec]:
    """Codecs for images; grey ones see the bands one below the other, colour ones three at once."""
    import imagecodecs as ic

    found = []
    grey = {
        "jpeg-ls": (ic.jpegls_encode, ic.jpegls_decode),
        "png": (lambda a: ic.png_encode(a, level=6), ic.png_decode),
        "jpeg2000": (
            lambda a: ic.jpeg2k_encode(a, level=0, reversible=True, codecformat="j2k", numthreads=1),
            lambda d: ic.jpeg2k_decode(d, numthreads=1),
        ),
        "htj2k": (lambda a: ic.htj2k_encode(a, reversible=True), ic.htj2k_decode),
    }
    for effort in (1, 2, 3):
        grey[f"jpeg-xl e{effort}"] = (
            lambda a, e=effort: ic.jpegxl_encode(a, lossless=True, effort=e, numthreads=1, usecontainer=False),
            lambda d: ic.jpegxl_decode(d, numthreads=1),
        )
    for name, (encode, decode) in grey.items():
        found.append(_tall(name, encode, decode))
        if name in ("jpeg-ls", "jpeg-xl e1", "jpeg-xl e3"):
            found.append(_tall(name, encode, decode, axes="b"))
    found.append(_tall("lerc", lambda a: ic.lerc_encode(a, level=0), ic.lerc_decode))
    aec = {"bitspersample": 16, "blocksize": 16, "rsi": 128, "flags": 0}

    def aec_pack(block: Array) -> bytes:
        return bytes(ic.aec_encode(block, **aec))

    one = _predicted("aec", "yx", True, aec_pack, lambda d, w: ic.aec_decode(d, **aec))
    found.append(Codec(one.name, one.encode, one.decode, "ui", (2,)))
    colour = {
        "rgb jpeg-ls": (ic.jpegls_encode, ic.jpegls_decode),
        "rgb png": (lambda a: ic.png_encode(a, level=6), ic.png_decode),
        "rgb qoi": (ic.qoi_encode, ic.qoi_decode),
        "rgb jpeg2000": (grey["jpeg2000"][0], grey["jpeg2000"][1]),
        "rgb htj2k": (lambda a: ic.htj2k_encode(a, reversible=True, rgb=True), ic.htj2k_decode),
    }
    for effort in (1, 2, 3):
        colour[f"rgb jpeg-xl e{effort}"] = grey[f"jpeg-xl e{effort}"]
    for method in (0, 2, 4):
        colour[f"rgb webp m{method}"] = (
            lambda a, m=method: ic.webp_encode(a, lossless=True, method=m, level=None, numthreads=0),
            lambda d: ic.webp_decode(d, hasalpha=False),
        )
    return found + [_coloured(name, *pair) for name, pair in colour.items()]


def codecs() -> list[Codec]:
    """Every candidate whose library is installed."""
    makers = {
        "": _plain,
        "numcodecs": _numcodecs,
        "PIL": _pillow,
        "pcodec": _pcodec,
        "blosc2": _blosc2,
        "zstandard": _zstandard,
        "imagecodecs": _imagecodecs,
    }
    there = {name: make for name, make in makers.items() if not name or importlib.util.find_spec(name)}
    return [replace(one, library=name) for name, make in there.items() for one in make()]
