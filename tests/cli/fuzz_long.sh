#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fuzz_long.sh: builds the preset "fuzz" and lets every target look for new inputs for a while.
# FUZZ_SECONDS: for each (60). Arguments: the targets (all). What is found lies in build-fuzz/finds.
# test-labels: long once
# test-timeout: 5400
set -euo pipefail
cd "$SRC"

seconds=${FUZZ_SECONDS-60}
build=$SRC/build-fuzz
finds=$build/finds
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$finds"

cmake --preset fuzz >"$work/log" || { cat "$work/log" && exit 1; }
cmake --build --preset fuzz -j "$(nproc)" >"$work/log" || { cat "$work/log" && exit 1; }

export ASAN_OPTIONS=quarantine_size_mb=16
export UBSAN_OPTIONS=print_stacktrace=1
targets=("$@")
if [ $# = 0 ]; then
	for source in tests/fuzz/*.c; do
		targets+=("$(basename "$source" .c)")
	done
fi
failed=()
for target in "${targets[@]}"; do
	corpus=$work/$target
	mkdir -p "$corpus"
	cp tests/fuzz/corpus/"$target"/* "$corpus"
	for find in tests/golden/fuzz-"$target"-*; do
		if [ -e "$find" ]; then cp "$find" "$corpus"; fi
	done
	# A malloc of 512 MiB, a resident set of 1 GiB, 5 s for an input: more of any is a failure.
	if "$build/bin/fuzz-$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
		-malloc_limit_mb=512 -max_len=4096 -print_final_stats=1 \
		-artifact_prefix="$finds/$target-" "$corpus" >"$work/log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
		echo "$target: $runs inputs in $seconds s, no failure"
	else
		failed+=("$target")
		grep -v '^#' "$work/log" | tail -40
	fi
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}; the inputs lie in $finds" >&2
	exit 1
fi
