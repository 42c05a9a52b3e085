# SPDX-License-Identifier: GPL-2.0-or-later
# part-big.bash: a disk of 2 TiB with data all over it: its opening, its memory, recovery.

once_big() {
	local line
	[ -x "$bin/bench-big" ] || { note "big: bench-big is not built: left out" && return; }
	"$bin/bench-big" P6 2048 "$((seconds > 4 ? 65536 : 1024))" >"$dir/result"
	while read -r line; do
		put P6 ours "big $(jq -r .what <<<"$line")" big "$line"
		note "big: $line"
	done <"$dir/result"
}
