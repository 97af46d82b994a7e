"""Messages between server and clients: one blob each, whose every length is checked before anything is allocated.

What is in a blob, and why: docs/understand/faqs.md, Messages.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC, VERSION = b"RLUF", 2
#: The byte of a block that is skipped.
SKIPPED = 255
#: The codec of a client that cannot read what the server sent: it asks for a key frame.
LOST = 0
#: Rounds are below this, so that the base after them fits its field.
LAST_ROUND = 2**32 - 1
_HEAD = struct.Struct("<4sHBx8sIIHIHHH")
_PARTS, _UNKNOWN = 10_000, 65_535
_LENGTH, _CHECK = struct.Struct("<I"), struct.Struct("<I")
#: Bytes of a message apart from its blocks and its payload.
_FIXED = _HEAD.size + _LENGTH.size + _CHECK.size


class WireError(ValueError):
    """A blob that is not a message for us; says what is wrong with it."""


@dataclass(frozen=True)
class Message:
    """What travels.

    Attributes:
        codec: number of the payload's codec.
        digest: of the `Layout`, 8 bytes.
        round: 0..2^32 - 1.
        base: what differences are to: 0 is the fresh network, and r + 1 what the server sent in round r.
        client: number, 0..65535.
        images: of the client, 0..2^32 - 1.
        accuracies: of the client on its test images, before and after its training, 0..1; ``None`` if not measured.
        options: number of each block's option, or `SKIPPED`.
        payload: what the codec made.
    """

    codec: int
    digest: bytes
    round: int
    base: int
    client: int
    images: int
    accuracies: tuple[float | None, float | None]
    options: tuple[int, ...]
    payload: bytes

    def pack(self) -> bytes:
        """As a blob."""
        head = _HEAD.pack(
            MAGIC, VERSION, self.codec, self.digest, self.round, self.base, self.client, self.images,
            *(_UNKNOWN if one is None else round(_PARTS * one) for one in self.accuracies), len(self.options),
        )  # fmt: skip
        body = head + bytes(self.options) + _LENGTH.pack(len(self.payload)) + self.payload
        return body + _CHECK.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, blob: bytes, digest: bytes, blocks: int, most: int) -> Message:
        """The message in a blob.

        Args:
            blob: as it came, from anybody.
            digest: of our layout.
            blocks: of our network.
            most: bytes that a payload may have.

        Raises:
            WireError: for anything else than a message of this version, for this layout, whole and of allowed size.
        """
        if len(blob) < _FIXED:
            raise WireError(f"a message has at least {_FIXED} bytes, not {len(blob)}")
        if len(blob) > _FIXED + blocks + most:
            raise WireError(f"a message has at most {_FIXED + blocks + most} bytes here, not {len(blob)}")
        magic, version, codec, theirs, round_, base, client, images, pulled, trained, count = _HEAD.unpack_from(blob)
        if magic != MAGIC:
            raise WireError(f"a message begins with {MAGIC!r}, not {magic!r}")
        if version != VERSION:
            raise WireError(f"its format is version {version}, and ours {VERSION}: update the older side")
        if theirs != digest:
            raise WireError(f"it is of another network: layout {theirs.hex()}, not {digest.hex()}")
        if count != blocks or len(blob) < _FIXED + blocks:
            raise WireError(f"it says {count} blocks in {len(blob)} bytes, and we have {blocks}")
        start = _HEAD.size + blocks
        [length] = _LENGTH.unpack_from(blob, start)
        if len(blob) != _FIXED + blocks + length:
            raise WireError(f"it has {len(blob)} bytes, and says {_FIXED + blocks + length}")
        [check] = _CHECK.unpack_from(blob, len(blob) - _CHECK.size)
        if check != zlib.crc32(memoryview(blob)[: -_CHECK.size]):
            raise WireError("its checksum is wrong: it was damaged on its way")
        if bad := [one for one in (pulled, trained) if _PARTS < one < _UNKNOWN]:
            raise WireError(f"an accuracy is at most {_PARTS} of {_PARTS}, not {bad[0]}")
        before, after = (None if one == _UNKNOWN else one / _PARTS for one in (pulled, trained))
        payload = blob[start + _LENGTH.size : -_CHECK.size]
        options = tuple(blob[_HEAD.size : start])
        return cls(codec, theirs, round_, base, client, images, (before, after), options, payload)

    @staticmethod
    def round_in(blob: bytes) -> int:
        """The round that a blob says, before anything in it is checked; raises WireError for one that is too short."""
        if len(blob) < _FIXED:
            raise WireError(f"a message has at least {_FIXED} bytes, not {len(blob)}")
        found: int = _HEAD.unpack_from(blob)[4]
        return found
