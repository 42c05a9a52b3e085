#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store_full: the engine at every fill, all geometries and mixes of units, several seeds.
# test-labels: long once
set -eu
"$BIN/unit-store_full" every_fill --all --rounds=6
