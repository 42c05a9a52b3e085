#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# pack.py: what `boot` recorded as one trace file: pack.py IMAGE DIR OUT.zst
#
# Little-endian, all of it one zstd frame:
#   8 bytes  "svTRACE1"; u64 bytes of the disk; u32 chunks of 64 KiB; u32 requests; u64 bytes
#            written
#   chunks   of the image before the boot, 4 bytes each: u16 which of its 16 blocks are not zero,
#            u8 how far the chunk compresses (lz4, in 255ths of its blocks that are not zero), u8 0
#   requests 16 bytes each: u8 op (r, w, z, t, f), 3 bytes sectors of 512, u32 first sector,
#            u64 microseconds between the end of the request before and the beginning of this one
#   what was written, one write behind the other
# The image's own bytes are not kept (they would be 100 MB): replay makes bytes that compress as
# far, from a seed. What the guest wrote is what it wrote.
import ctypes
import struct
import subprocess
import sys

CHUNK = 65536
BLOCK = 4096
ZERO = bytes(BLOCK)
lz4 = ctypes.CDLL("liblz4.so.1")
room = ctypes.create_string_buffer(CHUNK + 4096)


def chunk_of(data):
    mask, full = 0, b""
    for i in range(len(data) // BLOCK):
        block = data[i * BLOCK:(i + 1) * BLOCK]
        if block != ZERO:
            mask |= 1 << i
            full += block
    if not mask:
        return 0, 0
    size = lz4.LZ4_compress_default(full, room, len(full), len(room))
    return mask, min(255, max(1, round(255 * size / len(full))))


def requests_of(log):
    last = None
    for line in log:
        op, offset, length, start, end = line.split()
        think = 0 if last is None else max(0, int(start) - last)
        last = int(end)
        sectors = int(length) // 512
        assert int(offset) % 512 == 0 and int(length) % 512 == 0 and sectors < 1 << 24
        yield struct.pack("<IIQ", ord(op) | sectors << 8, int(offset) // 512, think)


def main():
    image, folder, out = sys.argv[1:]
    chunks, requests = [], []
    with open(image, "rb") as f:
        while data := f.read(CHUNK):
            mask, ratio = chunk_of(data.ljust(CHUNK, b"\0"))
            chunks.append(struct.pack("<HBB", mask, ratio, 0))
        size = f.tell()
    with open(folder + "/log") as log:
        requests = list(requests_of(log))
    with open(folder + "/data", "rb") as f:
        data = f.read()
    head = struct.pack("<8sQIIQ", b"svTRACE1", size, len(chunks), len(requests), len(data))
    whole = head + b"".join(chunks) + b"".join(requests) + data
    zstd = ["zstd", "-q", "-f", "-19", "--long=27", f"--stream-size={len(whole)}", "-o", out]
    subprocess.run(zstd, input=whole, check=True)


main()
