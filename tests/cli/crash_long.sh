#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# crash_long: a million distinct crash images, all sequences of three verbs in every mode, threads
# that are cut, and sticks of real endurance written to death. STICKVM_CRASH_IMAGES: another number
# of images.
# test-labels: long once
# test-timeout: 14400
set -euo pipefail

for mode in plain liar paired; do
	"$BIN/unit-store_sequences" --mode="$mode" --length=3
done
for mode in 0 1 2; do
	for geometry in 0 1 2; do
		"$BIN/unit-store_concurrent" --geometry="$geometry" --mode="$mode" --seeds=40
	done
done
"$BIN/unit-store_wearout" --pe=300
"$BIN/unit-store_crash" --images="${STICKVM_CRASH_IMAGES:-1000000}"
