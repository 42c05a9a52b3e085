# SPDX-License-Identifier: GPL-2.0-or-later
# part-memory.bash: everything on one processor, nothing slow below: what the engine itself costs.

memory_loads() {
	local contender=$1 workload result
	load fill >/dev/null
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
	mount -t tmpfs -o size=4G tmpfs "$fs"
	serve --create "$(size_bytes "$span")" "$fs/store"
	memory_loads ours
	unmount "$fs"
}
