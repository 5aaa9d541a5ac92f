#!/usr/bin/env python3
"""Packs and unpacks the corpora of the fuzz targets.

usage: tests/fuzz/corpus.py unpack TARGET...
       tests/fuzz/corpus.py pack TARGET...

A corpus is one file in the repository, corpus/TARGET.bin, and for libFuzzer a directory with a file
for each input, target/corpus/TARGET. `unpack` writes the directory anew from the file; `pack` writes
the file from the directory, sorted and without duplicates, so that the same inputs give the same file.

The format: for each input its length, four bytes in big-endian order, and then the input. The inputs
ascend in the order of their bytes, and no two are the same.
"""
import hashlib
import pathlib
import shutil
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
LENGTH = struct.Struct(">I")


def packed(target):
    return HERE / "corpus" / f"{target}.bin"


def unpacked(target):
    return HERE / "target" / "corpus" / target


def decode(data):
    """The inputs in the bytes of a corpus file."""
    inputs, at = [], 0
    while at < len(data):
        start = at + LENGTH.size
        if start > len(data):
            raise ValueError(f"the length at byte {at} is cut short")
        (length,) = LENGTH.unpack_from(data, at)
        at = start + length
        if at > len(data):
            raise ValueError(f"the input at byte {start} is cut short")
        inputs.append(data[start:at])
    return inputs


def encode(inputs):
    """The bytes of the corpus file that holds these inputs."""
    return b"".join(LENGTH.pack(len(each)) + each for each in sorted(set(inputs)))


def unpack(target):
    inputs = decode(packed(target).read_bytes())
    directory = unpacked(target)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for each in inputs:
        # libFuzzer names its own files in the same way.
        (directory / hashlib.sha1(each).hexdigest()).write_bytes(each)
    return len(inputs)


def pack(target):
    inputs = {path.read_bytes() for path in unpacked(target).iterdir()}
    if not inputs:
        raise ValueError(f"{unpacked(target)} is empty")
    packed(target).write_bytes(encode(inputs))
    return len(inputs)


def main(arguments):
    actions = {"unpack": unpack, "pack": pack}
    if len(arguments) < 2 or arguments[0] not in actions:
        sys.exit(__doc__)
    for target in arguments[1:]:
        try:
            count = actions[arguments[0]](target)
        except (OSError, ValueError) as error:
            sys.exit(f"{target}: {error}")
        print(f"{target}: {count} inputs")


if __name__ == "__main__":
    main(sys.argv[1:])
