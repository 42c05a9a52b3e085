# SPDX-License-Identifier: GPL-2.0-or-later
# part-cpu.bash: what the engine costs the processor, beside lz4 alone, into a stick without time.

once_cpu() {
	local line
	[ -x "$bin/bench-cpu" ] || { note "cpu: bench-cpu is not built: left out" && return; }
	taskset -cp 0 $$ >/dev/null
	"$bin/bench-cpu" >"$dir/result"
	while read -r line; do
		put memory ours "cpu $(jq -r .data <<<"$line")" cpu "$line"
		note "cpu: $line"
	done <"$dir/result"
}
