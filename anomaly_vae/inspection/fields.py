"""The metadata of an ONNX file, without loading its graph and without the onnx package.

An ONNX file is one message of Protocol Buffers: fields, each with a number and a kind, in any
order (https://protobuf.dev/programming-guides/encoding, and onnx.proto3 for the numbers).
"""

from collections.abc import Iterator

_METADATA, _KEY, _VALUE = 14, 1, 2  # of ModelProto; of StringStringEntryProto
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def metadata_in(data: bytes) -> dict[str, str]:
    """Read the metadata of an ONNX file; none where it is none, or is damaged."""
    try:
        return {
            text[_KEY]: text.get(_VALUE, "")
            for number, value in _fields(memoryview(data))
            if number == _METADATA
            for text in [{key: str(found, "utf-8") for key, found in _fields(value)}]
        }
    except (IndexError, KeyError, ValueError):
        return {}


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a message that are strings or messages.

    Raises:
        IndexError, ValueError: it is no such message.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("cut off")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"no kind of field: {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Give the number at a place, seven bits a byte, the lowest first, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at
