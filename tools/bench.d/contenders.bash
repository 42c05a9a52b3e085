# SPDX-License-Identifier: GPL-2.0-or-later
# contenders.bash: how each disk is made, served and stopped: start_NAME sets `disk`.
#
# Peers are served as ours is: by FUSE, without the host's cache. btrfs is the exception, since it
# compresses only what goes through it.

# FORMAT FILE [WITHOUT THE HOST'S CACHE: on, off]
# QEMU's own server, as it is recommended for a disk that others write through: direct, native aio.
start_qemu() {
	local format=$1 file=$2 direct=${3:-on} aio=native
	[ "$direct" = on ] || aio=threads
	: >"$dir/image"
	qemu-storage-daemon --daemonize --pidfile "$dir/qemu.pid" --blockdev \
		"driver=file,node-name=file,filename=$file,cache.direct=$direct,aio=$aio" \
		--blockdev "driver=$format,node-name=disk,file=file,cache.direct=$direct$qemu_options" \
		--export "type=fuse,id=fuse,node-name=disk,mountpoint=$dir/image,writable=on"
	server=$(cat "$dir/qemu.pid")
	disk=$dir/image
}
qemu_options=''

stop_qemu() { stop_server; }

# A file that was written in full, without anybody between.
start_bare() { disk=$fs/bare; }
stop_bare() { :; }
fill_bare() { load fill >/dev/null; }

start_raw() {
	[ -e "$fs/disk.raw" ] || qemu-img create -q -f raw "$fs/disk.raw" "$span"
	start_qemu raw "$fs/disk.raw"
}
stop_raw() { stop_qemu; }

# Each setting of qcow2 at its best: thin, since new clusters are appended, which suits a stick
# better than any preallocation; the cache of its tables as large as they are.
# NAME OPTIONS [SIZE OF THE TABLES' CACHE]
start_any_qcow2() {
	local options=()
	[ -z "$1" ] || options=(-o "$1")
	[ -e "$fs/disk.qcow2" ] || qemu-img create -q -f qcow2 "${options[@]}" "$fs/disk.qcow2" "$span"
	qemu_options=${2:+,l2-cache-size=$2}
	start_qemu qcow2 "$fs/disk.qcow2"
	qemu_options=''
}
start_qcow2() { start_any_qcow2 ''; }
start_qcow2-4k() { start_any_qcow2 cluster_size=4k 4194304; }
# 128 KiB: subclusters of 4 KiB, so nothing is copied, and fewer clusters are allocated.
start_qcow2-sub() { start_any_qcow2 cluster_size=128k,extended_l2=on,lazy_refcounts=on; }
start_qcow2-lazy() { start_any_qcow2 lazy_refcounts=on; }
stop_qcow2() { stop_qemu; }
stop_qcow2-4k() { stop_qemu; }
stop_qcow2-sub() { stop_qemu; }
stop_qcow2-lazy() { stop_qemu; }

start_btrfs() {
	[ -e "$fs/disk.raw" ] || qemu-img create -q -f raw "$fs/disk.raw" "$span"
	start_qemu raw "$fs/disk.raw" off
}
stop_btrfs() { stop_qemu; }

start_ours() {
	if [ ! -e "$fs/stickvm" ]; then
		"$bin/stickvm" init --no-probe "$fs" >/dev/null
		"$bin/stickvm" --stick "$fs" create bench --size "$span" >/dev/null
	fi
	"$bin/stickvm" --stick "$fs" mount bench "$disk_dir" --cache off >/dev/null
	wait_for test -e "$disk_dir/disk.raw"
	disk=$disk_dir/disk.raw
}
stop_ours() { "$bin/stickvm" umount "$disk_dir"; }
start_exfat() { start_ours; }
stop_exfat() { stop_ours; }
start_ntfs() { start_ours; }
stop_ntfs() { stop_ours; }

start_bare-part() { disk=$loop; }
stop_bare-part() { :; }

# [OPTION...] of bench-serve, then the place: without the launcher.
serve() {
	"$bin/bench-serve" "$@" "$disk_dir" >/dev/null &
	server=$!
	wait_for test -e "$disk_dir/disk.raw"
	disk=$disk_dir/disk.raw
}
stop_serving() {
	unmount "$disk_dir"
	wait "$server" || true
	server=''
}

start_ours-part() {
	serve --create "$(size_bytes "$span")" --page "$(geometry_of page_bytes)" \
		--erase "$(geometry_of erase_bytes)" --open-units "$(geometry_of open_units)" "$loop"
}
stop_ours-part() { stop_serving; }

fs_of() {
	case $1 in
	exfat | ntfs | btrfs) echo "$1" ;;
	*-part) echo none ;;
	*) echo ext4 ;;
	esac
}

available() {
	case $1 in
	raw | qcow2*) command -v qemu-storage-daemon >/dev/null ;;
	btrfs) command -v qemu-storage-daemon >/dev/null && grep -qw btrfs /proc/filesystems ;;
	*) true ;;
	esac
}

# Of those that a part can take, the ones that are wanted and there.
wanted() {
	local c
	for c in "$@"; do
		if [ -n "$contenders" ]; then
			has "$contenders" "$c" || continue
		else
			case $c:$stick_id in exfat:P[13] | ntfs:P[13]) ;; exfat:* | ntfs:*) continue ;; esac
		fi
		if available "$c"; then echo "$c"; else note "$c is not here: left out"; fi
	done
}
