# SPDX-License-Identifier: GPL-2.0-or-later
# record.py: an nbdkit plugin: a raw image as a disk, and every request to it in a log.
#
# Parameters: image=FILE (written to), log=FILE, data=FILE. The log has a line a request,
# `op offset length start_us end_us`, op being r, w, z (zeros), t (trim) or f (flush); data has
# what was written, one write behind the other. Requests are served one at a time.
import builtins
import os
import time

import nbdkit

API_VERSION = 2
ZEROS = bytes(1 << 20)
paths = {}
files = {}


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def config(key, value):
    paths[key] = os.path.abspath(value)


def get_ready():
    files["image"] = os.open(paths["image"], os.O_RDWR)
    files["log"] = builtins.open(paths["log"], "w")
    files["data"] = builtins.open(paths["data"], "wb")


def open(readonly):
    return {}


def close(handle):
    files["log"].flush()
    files["data"].flush()


def get_size(handle):
    return os.fstat(files["image"]).st_size


def can_trim(handle):
    return True


def can_zero(handle):
    return True


def can_flush(handle):
    return True


def now_us():
    return time.monotonic_ns() // 1000


def note(op, offset, length, start_us):
    files["log"].write(f"{op} {offset} {length} {start_us} {now_us()}\n")


def pread(handle, buf, offset, flags):
    start_us = now_us()
    done = os.preadv(files["image"], [buf], offset)
    if done != len(buf):
        raise OSError(5, "a short read")
    note("r", offset, done, start_us)


def pwrite(handle, buf, offset, flags):
    start_us = now_us()
    os.pwrite(files["image"], buf, offset)
    files["data"].write(buf)
    note("w", offset, len(buf), start_us)


def fill(offset, count):
    while count:
        count -= os.pwrite(files["image"], ZEROS[:count], offset + count - min(count, len(ZEROS)))


def zero(handle, count, offset, flags):
    start_us = now_us()
    fill(offset, count)
    note("z", offset, count, start_us)


def trim(handle, count, offset, flags):
    start_us = now_us()
    fill(offset, count)
    note("t", offset, count, start_us)


def flush(handle, flags):
    note("f", 0, 0, now_us())
