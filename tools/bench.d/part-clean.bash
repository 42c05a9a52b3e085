# SPDX-License-Identifier: GPL-2.0-or-later
# part-clean.bash: ten times the disk overwritten: the cleaner's part of write amplification, against
# theory's; and the longest request of a stick that is nearly full, on its clock.

# LOAD OPTION...: the workload's name is that of the load and how full it is.
clean_line() {
	local name=$1
	shift
	"$bin/bench-clean" "$@" >"$dir/result"
	put memory ours "$name" clean "$(cat "$dir/result")"
	note "$name: $(cat "$dir/result")"
}

once_clean() {
	local u scale="mib=512 segment=1024 page=4 flush=64 lie=8192 checkpoint=16384 batch=8192"
	[ -x "$bin/bench-clean" ] || { note "clean: bench-clean is not built: left out" && return; }
	for u in 0.7 0.85; do
		clean_line "clean uniform $u" load=uniform u=$u times=10 $scale
		clean_line "clean hot $u" load=hot u=$u times=10 $scale
	done
	clean_line "clean full" load=uniform stick=P3 u=0.86 mib=2048 times=1 checkpoint=65536 \
		segment=8192 page=16 flush=256 lie=65536 batch=65536
}
