# SPDX-License-Identifier: GPL-2.0-or-later
# part-filled.bash: a disk that was written in full: in order, and cold reads at random.

# Started anew, so that nothing is in its memory.
start_again() {
	"stop_$1"
	"start_$1"
}

# Once through at most: what was read is in somebody's memory after that.
read_in_order() {
	start_again "$1"
	measure "$1" "$2" seqread --seconds $(((seconds + 1) / 2)) --ops $(($(size_bytes "$span") / 1048576))
}

read_at_random() {
	start_again "$1"
	measure "$1" "$2" randread --seconds "$(slow_seconds)"
}

filled_contender() {
	local c=$1
	plug_stick "$2" "$(fs_of "$c")"
	"start_$c"
	load fill >/dev/null
	measure "$c" seqwrite seqwrite --seconds "$seconds"
	read_in_order "$c" seqread
	read_at_random "$c" coldread
	case $c in
	ours | btrfs) # the others' data lie the same whatever they are
		load fill --compressible 50 >/dev/null
		read_in_order "$c" seqread-half
		read_at_random "$c" coldread-half
		;;
	esac
	"stop_$c"
	unplug_stick
}

part_filled() {
	local c
	for c in $(wanted raw qcow2 btrfs ours); do
		filled_contender "$c" "$1"
	done
}
