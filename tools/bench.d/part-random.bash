# SPDX-License-Identifier: GPL-2.0-or-later
# part-random.bash: 4 KiB random writes with a flush behind every sixteen; erases; the ledger.

# What is written everywhere before, and what is thin at its best (contenders.bash).
is_thin() { [[ $1 == qcow2* ]]; }

random_contender() {
	local c=$1
	plug_stick "$2" "$(fs_of "$c")"
	"start_$c"
	is_thin "$c" || load fill >/dev/null
	if [[ $c == bare* ]]; then
		measure "$c" append append --seconds "$seconds"
	else
		measure "$c" randwrite randwrite --fsync 16 --seconds "$(slow_seconds)"
	fi
	"stop_$c"
	unplug_stick
}

part_random() {
	local c
	for c in $(wanted bare raw qcow2 qcow2-4k qcow2-sub qcow2-lazy btrfs ours exfat ntfs \
		bare-part ours-part); do
		random_contender "$c" "$1"
	done
}
