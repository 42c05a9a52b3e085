#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every byte of a store, and every bit of it: unit-store_bits takes samples.
# test-labels: long once
. "${SRC:?the source tree}/tests/support/cli.sh"

"$BIN/unit-store_bits" --every-bit || die "a bit that turned"
