"""Checks a CSV's bytes, block by block, and counts its rows without reading their fields.

A quoted text begins and ends beside a separator or the end of a line, and a quote in it is doubled
(RFC 4180). A row ends where a line ends outside quoted texts. Both are computed for 64 bytes at a
time, one bit per byte, as in Langdale and Lemire, Parsing Gigabytes of JSON per Second (2019), 3.1.
Knows nothing of files.
"""

import codecs

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]
"""One bit per byte, the lowest bit of a word first; zeros after the last byte."""

_QUOTE, _LF, _CR = b'"\n\r'


class ScanError(ValueError):
    """The bytes are not a CSV. The scan does not know the place of the mistake."""


class Scan:
    """The state of a scan. rows: counted so far, with the header, without blank lines."""

    def __init__(self, separator: str) -> None:
        self.rows = 0
        self._separator = ord(separator)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._begun = False
        self._flags: Flags = np.empty(0, dtype=np.bool_)  # memory to compare in
        # Whether after the last byte a line has ended, a field may begin, a quoted text continues,
        # or one has just ended. The beginning of a file is like that of a line.
        self._line_ended = self._may_begin = True
        self._quoted = self._text_ended = False

    def add(self, block: bytes) -> None:
        """Check and count the next bytes. Raises: ScanError."""
        self._check_text(block)
        data: Bytes = np.frombuffer(block, np.uint8)
        if not self._begun and block.startswith(codecs.BOM_UTF8):
            data = data[len(codecs.BOM_UTF8) :]
        self._begun = True
        if not len(data):
            return
        ends = self._where(data, _LF)
        if b"\r" in block:
            ends |= self._where(data, _CR)
        # An end right after an end is the second half of \r\n, or ends a blank line.
        row_ends = ends & ~_moved(ends, self._line_ended)
        if b'"' in block or self._quoted or self._text_ended:
            row_ends &= ~self._in_text(data, ends)
        else:
            self._may_begin = data[-1] in (_LF, _CR, self._separator)
        self.rows += int(np.bitwise_count(row_ends).sum())
        self._line_ended = data[-1] in (_LF, _CR)

    def finish(self) -> None:
        """Check and count what follows the end of the last line. Raises: ScanError."""
        self._check_text(b"", final=True)
        if self._quoted:
            raise ScanError("a quote that is never closed")
        self.rows += not self._line_ended
        self._line_ended = True

    def _check_text(self, block: bytes, *, final: bool = False) -> None:
        if b"\0" in block:
            raise ScanError("a NUL byte")
        if final or not block.isascii() or self._decoder.getstate()[0]:
            try:
                self._decoder.decode(block, final)
            except UnicodeDecodeError as error:
                raise ScanError(str(error)) from None

    def _where(self, data: Bytes, byte: int) -> Bits:
        if len(self._flags) < len(data):
            self._flags = np.empty(len(data), dtype=np.bool_)
        return _bits(np.equal(data, byte, out=self._flags[: len(data)]))

    def _in_text(self, data: Bytes, ends: Bits) -> Bits:
        """Return which bytes are in a quoted text, including its opening quote."""
        quotes = self._where(data, _QUOTE)
        bounds = ends | self._where(data, self._separator)
        inside = _odd(quotes, self._quoted)
        before = _moved(bounds, self._may_begin) | _moved(quotes, self._text_ended)
        if (quotes & inside & ~before).any():
            quotes = self._without_literal(data)
            inside = _odd(quotes, self._quoted)
        text_ends = quotes & ~inside
        after = _moved(text_ends, self._text_ended)
        if len(data) % 64:
            after[-1] &= np.uint64((1 << len(data) % 64) - 1)
        if (after & ~bounds & ~quotes).any():
            raise ScanError("text after a closing quote")
        self._quoted, self._text_ended = _last(inside, data), _last(text_ends, data)
        self._may_begin = _last(bounds, data)
        return inside

    def _without_literal(self, data: Bytes) -> Bits:
        """Return the quotes, except those inside an unquoted field: these are mere characters."""
        places = np.flatnonzero(data == _QUOTE)
        may_begin = np.isin(data[places - 1], (_LF, _CR, self._separator))
        if places[0] == 0:
            may_begin[0] = self._may_begin
        quoted, text_end, real = self._quoted, -1 if self._text_ended else None, []
        for place, begins_field in zip(places.tolist(), may_begin.tolist(), strict=True):
            if quoted or begins_field or text_end == place - 1:
                quoted = not quoted
                text_end = None if quoted else place
                real.append(place)
        flags = np.zeros(len(data), dtype=np.bool_)
        flags[real] = True
        return _bits(flags)


def _bits(flags: Flags) -> Bits:
    words: Bits = np.zeros(-(-len(flags) // 64), dtype="<u8")
    packed = np.packbits(flags, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _moved(bits: Bits, first: bool) -> Bits:
    """Return the bits moved on by one byte. first: the bit that the first byte gets."""
    moved: Bits = bits << np.uint64(1)
    moved[1:] |= bits[:-1] >> np.uint64(63)
    moved[0] |= np.uint64(first)
    return moved


def _odd(bits: Bits, first: bool) -> Bits:
    """Return, for each byte, whether the number of set bits so far, with `first`, is odd."""
    odd = bits.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << shift
    carries: Bits = np.bitwise_xor.accumulate(np.append(np.uint64(first), odd[:-1] >> 63))
    return odd ^ np.negative(carries)  # all ones or none


def _last(bits: Bits, data: Bytes) -> bool:
    """Return the bit of the last byte."""
    return bool(int(bits[-1]) >> (len(data) - 1) % 64 & 1)
