"""Builds tokenizer.model: a SentencePiece BPE model with byte fallback, like Vicuna's but small.

    python tokenizer.py OUT_DIR

Instead of being learnt, the pieces are laid out: every word of the world with all its prefixes
(so merging always reaches the word), and all numbers of one to three digits (so any order of
merging reaches the three-digit piece).
"""

import json
import struct
import sys
from pathlib import Path

from turns import vocabulary

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def pieces() -> list[tuple[str, int]]:
    out = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    out += [(f"<0x{b:02X}>", BYTE) for b in range(256)]
    words = [p for w in vocabulary() for p in prefixes("▁" + w)] + prefixes("Question")
    numbers = [f"{n:0{d}d}" for d in (3, 2) for n in range(10**d)]
    marks = ["▁[", "▁[[", "[[", "]]"]
    letters = [chr(c) for c in range(33, 127)] + ["▁"]
    body = [p for p in dict.fromkeys(numbers + marks + words) if len(p) > 1] + letters
    return out + [(p, NORMAL) for p in body]


def prefixes(word: str) -> list[str]:
    return [word[:n] for n in range(2, len(word) + 1)]


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number: int, value) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def model_proto() -> bytes:
    """ModelProto of sentencepiece_model.proto."""
    table = pieces()
    out = b""
    for rank, (piece, kind) in enumerate(table):
        score = -float(max(0, rank - 259)) if kind == NORMAL else 0.0
        out += field(1, field(1, piece) + field(2, score) + (b"" if kind == NORMAL else field(3, kind)))
    trainer = field(3, 2) + field(4, len(table)) + field(10, 1.0) + field(25, 0) + field(35, 1)  # BPE, byte fallback
    trainer += field(40, 0) + field(41, 1) + field(42, 2) + field(43, -1)  # unk, bos, eos, no pad
    trainer += field(45, "<unk>") + field(46, "<s>") + field(47, "</s>")
    normaliser = field(1, "identity") + field(2, b"") + field(3, 1) + field(4, 0) + field(5, 1)
    return out + field(2, trainer) + field(3, normaliser)


CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<unk>",
    "clean_up_tokenization_spaces": False,
    "legacy": True,
    "model_max_length": 2048,
    "sp_model_kwargs": {},
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model_proto())
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    print(len(pieces()), "pieces")


if __name__ == "__main__":
    main()
