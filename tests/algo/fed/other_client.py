"""What a client in another language does with messages, by docs/understand/faqs.md and ``layout.json`` alone.

Nothing of the project is imported: integers of Python, and NumPy for float32. It is here so that the page stays enough.
"""

import hashlib
import json
import math
import struct
import zlib

import numpy as np

F, M64 = np.float32, 2**64 - 1


def read(blob):
    """The fields of a message."""
    magic, version, codec, zero, digest, round_, base, client, images, pulled, trained, blocks = struct.unpack_from(
        "<4sHBB8sIIHIHHH", blob
    )
    options = tuple(blob[36 : 36 + blocks])
    (length,) = struct.unpack_from("<I", blob, 36 + blocks)
    assert magic == b"RLUF" and version == 2 and zero == 0 and len(blob) == 44 + blocks + length
    assert struct.unpack("<I", blob[-4:])[0] == zlib.crc32(blob[:-4])
    return {
        "codec": codec, "digest": digest, "round": round_, "base": base, "client": client, "images": images,
        "accuracies": (pulled, trained), "options": options, "payload": blob[40 + blocks : 40 + blocks + length],
    }  # fmt: skip


class OtherClient:
    """References of one client, and what messages in both directions say.

    Args:
        layout: content of ``layout.json``.
        seed: of the run.
        searches: whether options say which slices are held: only with faqs.
    """

    def __init__(self, layout, seed, searches):
        self.layout, self.searches = layout, searches
        self.places = [np.concatenate([np.arange(*one) for one in cut["places"]]) for cut in layout["slices"]]
        self.fresh, done = {}, 0
        for name, shape in layout["tensors"].items():
            if len(shape) > 1:
                count, bound = math.prod(shape), F(1 / math.sqrt(math.prod(shape[1:])))
                values = np.array([bound * (F(2) * uniform(seed, done + k) - F(1)) for k in range(count)], F)
                done += count
            else:
                values = np.full(shape, 0 if name.endswith("bias") else 1, F)
            self.fresh[name] = values.reshape(-1)
        self.begin()

    def begin(self):
        """References are the fresh network."""
        self.references = [
            self.fresh[cut["tensor"]][own] for cut, own in zip(self.layout["slices"], self.places, strict=True)
        ]

    def digest(self):
        """Of the layout and of the fresh network."""
        found = hashlib.sha256(json.dumps(self.layout["tensors"]).encode())
        for cut, own in zip(self.layout["slices"], self.places, strict=True):
            found.update(f"{cut['tensor']}/{cut['name']}".encode() + own.astype("<i8").tobytes())
        values = hashlib.sha256(b"".join(own.astype("<f4").tobytes() for own in self.references))
        found.update(values.digest())
        return found.digest()[:8]

    def held(self, options):
        """Numbers of the slices that a message with these options has."""
        found = []
        for number, cut in enumerate(self.layout["slices"]):
            words = cut["tensor"].split(".")
            if self.searches and words[0] == "blocks":
                if options[int(words[1])] == 255:
                    continue
                kernel, expansion, _ = self.layout["options"][options[int(words[1])]]
                if ("k5" in cut["name"] and kernel != 5) or ("e6" in cut["name"] and expansion != 6):
                    continue
            found.append(number)
        return found

    def pull(self, blob):
        """Take a message of the server."""
        message = read(blob)
        if message["codec"] == 2 and self.layout["codec"] == 3:
            self.begin()
        for number, own in self.values(message).items():
            self.references[number] = own

    def values(self, message):
        """By number of the slice, what a message says."""
        held = self.held(message["options"])
        payload, sizes = message["payload"], [len(self.places[number]) for number in held]
        cuts = np.cumsum(sizes)[:-1]
        if message["codec"] == 1:
            found = np.split(np.frombuffer(payload, "<f4"), cuts)
        elif message["codec"] in (2, 4):
            limits = np.frombuffer(payload, "<f4", 2 * len(held)).astype(np.float64).reshape(-1, 2)
            codes = np.frombuffer(payload, "<u2", sum(sizes), 8 * len(held)).astype(np.float64)
            found = [
                (low + (high - low) * (own / 65535)).astype(F)
                for (low, high), own in zip(limits, np.split(codes, cuts), strict=True)
            ]
        else:
            tensors = list(dict.fromkeys(self.layout["slices"][number]["tensor"] for number in held))
            most, after = payload[0], 1 + 2 * len(tensors)
            steps = (np.frombuffer(payload, "<u2", len(tensors), 1).astype("<u4") << 16).view(F)
            frequencies = [int(one) for one in np.frombuffer(payload, "<u2", 2 * most + 1, after)]
            words = [int(one) for one in np.frombuffer(payload[after + 2 * (2 * most + 1) :], "<u4")]
            multiples = np.array(symbols(words, frequencies, sum(sizes)), np.int64) - most
            found = [
                self.references[number] + steps[tensors.index(self.layout["slices"][number]["tensor"])] * own.astype(F)
                for number, own in zip(held, np.split(multiples, cuts), strict=True)
            ]
        return dict(zip(held, found, strict=True))


def uniform(seed, number):
    """A multiple of 2^-24 in 0..1."""
    state = (seed + (number + 1) * 0x9E3779B97F4A7C15) & M64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & M64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & M64
    return F(((state ^ (state >> 31)) >> 40) / 2**24)


def symbols(words, frequencies, count):
    """What a range coder's words say."""
    used = [number for number, own in enumerate(frequencies) if own]
    if len(used) == 1:
        assert not words
        return used * count
    shares = [F(own / sum(frequencies)) for own in frequencies]
    total = F(0)
    for own in shares:
        total = F(total + own)
    scale, left, before = F(F(2**24 - len(shares)) / total), [], F(0)
    for number, own in enumerate(shares):
        left.append(int(F(before * scale)) + number)
        before = F(before + own)
    left.append(2**24)
    coming = iter(words)
    point, lower, range_ = next(coming, 0) << 32 | next(coming, 0), 0, M64
    found = []
    for _ in range(count):
        part = range_ >> 24
        place = ((point - lower) & M64) // part
        number = max(n for n in range(len(shares)) if left[n] <= place)
        found.append(number)
        lower, range_ = (lower + part * left[number]) & M64, part * (left[number + 1] - left[number])
        if range_ < 1 << 32:
            range_, lower, point = range_ << 32, (lower << 32) & M64, (point << 32) & M64 | next(coming, 0)
    return found
