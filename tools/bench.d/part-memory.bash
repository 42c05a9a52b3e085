# SPDX-License-Identifier: GPL-2.0-or-later
# part-memory.bash: everything on one processor, nothing slow below: what the engine itself costs.

# Memory that is touched for the first time costs more than the engine: three gigabytes are written
# at random before, so that the log has been everywhere on its place.
memory_loads() {
	local contender=$1 workload result
	load fill >/dev/null
	load randwrite --ops $((3 * $(size_bytes "$span") / 4096)) >/dev/null
	for workload in "randread 1" "randread 16" "randwrite 1"; do
		set -- $workload
		result=$(load "$1" --threads "$2" --seconds "$seconds")
		put memory "$contender" "$1-$2" load "$result"
		note "memory $contender $1 depth $2: $(rates "$result")"
	done
	stop_serving
}

once_memory() {
	taskset -cp 0 $$ >/dev/null
	"$bin/bench-fusefloor" bare "$disk_dir" "$(size_bytes "$span")" &
	server=$!
	disk=$disk_dir/disk.raw
	wait_for test -e "$disk"
	memory_loads floor
	mount -t tmpfs -o size=3G,huge=always tmpfs "$fs"
	serve --create "$(size_bytes "$span")" "$fs/store"
	memory_loads ours
	unmount "$fs"
}
