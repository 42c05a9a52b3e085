# SPDX-License-Identifier: GPL-2.0-or-later
# part-virtual.bash: the engine on the stick's own clock, without FUSE: writes, and cold reads.

virtual_writes() {
	if "$bin/bench-virtual" "$1" "$(size_bytes "$stick_size")" "$(size_bytes "$span")" \
		>"$dir/result"; then
		put "$1" ours virtual virtual "$(cat "$dir/result")"
		note "$1 virtual: $(jq -r '"\(.iops) IOPS of \(.limit_iops)"' "$dir/result")"
	else
		note "$1 virtual: FAILED"
	fi
}

# P0 takes 22 ms for any read: what it reads of the map is spread over a larger disk.
reads_span() {
	local bytes
	bytes=$(size_bytes "$span")
	if [ "$1" = P0 ]; then bytes=$((bytes / 2)); else bytes=$((bytes / 4)); fi
	echo $((bytes < 134217728 ? 134217728 : bytes)) # a smaller stick has no room to clean
}

part_virtual() {
	local line
	virtual_writes "$1"
	"$bin/bench-reads" "$1" "$(reads_span "$1")" 5000 >"$dir/result" ||
		note "$1 virtual reads: FAILED"
	while read -r line; do
		put "$1" ours "cold $(jq -r .data <<<"$line")" reads "$line"
		note "$1 $(jq -r '"\(.data): \(.ratio) of raw, in order \(.sequential_ratio)"' \
			<<<"$line")"
	done <"$dir/result"
}
