# SPDX-License-Identifier: GPL-2.0-or-later
# part-warm.bash: random reads of what the cache on the host's disk has, beside a raw file there.

# Everything once in large pieces, so that the cache has it; its worker may fall behind.
warm_up() {
	local _
	for _ in 1 2 3; do
		load seqread --ops $(($(size_bytes "$span") / 1048576)) >/dev/null
		sleep 1
	done
}


# QEMU's server with the host's cache and without it.
warm_peer() {
	[ -e "$dir/host.raw" ] || qemu-img create -q -f raw "$dir/host.raw" "$span"
	start_qemu raw "$dir/host.raw" "$2"
	load fill >/dev/null
	sync -f "$dir"
	measure "$1" warmread randread --seconds "$seconds"
	stop_qemu
}

# The smallest FUSE file system there can be, over the file.
warm_floor() {
	"$bin/bench-fusefloor" file "$disk_dir" "$dir/host.raw" &
	server=$!
	disk=$disk_dir/disk.raw
	wait_for test -e "$disk"
	measure floor warmread randread --seconds "$seconds"
	stop_serving
}

part_warm() {
	local whole=$span
	local span=$(($(size_bytes "$whole") / 4)) # what a VM asks for again and again
	plug_stick "$1" ext4
	serve --create "$span" "$fs/store"
	load fill >/dev/null
	stop_serving
	serve --cache "$dir/cache" "$fs/store"
	warm_up
	stop_serving
	sync -f "$dir" # or its pages would stay in the host's memory
	serve --cache "$dir/cache" --ram 1 "$fs/store"
	measure ours warmread randread --seconds "$seconds"
	stop_serving
	rm -rf "$dir/cache"
	warm_peer raw on
	warm_peer raw-cached off
	warm_floor
	rm -f "$dir/host.raw"
	unplug_stick
}
