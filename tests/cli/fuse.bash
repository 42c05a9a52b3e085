# SPDX-License-Identifier: GPL-2.0-or-later
# fuse.bash: a stick in a folder and a VM's disk mounted from it, for the fuse_*.sh scripts.

set -euo pipefail
: "${SRC:?the source tree}" "${BIN:?the folder of the programs under test}"

T=$(mktemp -d "${TMPDIR:-/tmp}/stickvm-fuse.XXXXXX")
STICK=$T/stick
M=$T/mnt
DISK=$M/disk.raw
LOOP=

die() {
	echo "FAILED: $*" >&2
	exit 1
}

# Runs a command that must fail, quietly.
refuse() {
	if "$@" >"$T/refused" 2>&1; then
		die "should have failed: $*"
	fi
}

stickvm() {
	"$BIN/stickvm" --stick "$STICK" "$@"
}

# need PROGRAM...: a test that cannot run has not passed.
need() {
	local program
	for program; do
		command -v "$program" >/dev/null || die "$program is not installed"
	done
}

# new_disk NAME SIZE: a stick with one VM.
new_disk() {
	mkdir -p "$STICK" "$M"
	stickvm init "$STICK" >"$T/init.log" 2>&1 || die "init: $(cat "$T/init.log")"
	stickvm create "$1" --size "$2" >"$T/create.log" 2>&1 ||
		die "create: $(cat "$T/create.log")"
}

attach_disk() {
	stickvm mount "$1" "$M" || die "mount $1"
	[ -f "$DISK" ] || die "mount returned before $DISK could be opened"
}

detach_disk() {
	stickvm umount "$M" || die "umount"
	! mountpoint -q "$M" || die "still mounted"
}

status() {
	jq -er ".$1" "$M/status.json"
}

fuse_cleanup() {
	local code=$?
	set +e
	if [ -n "$LOOP" ]; then
		umount "$T/fs" 2>/dev/null
		losetup -d "$LOOP"
	fi
	mountpoint -q "$M" && { stickvm umount "$M" || umount -l "$M"; }
	if [ $code -ne 0 ]; then
		for log in "$T"/*.log; do
			[ -s "$log" ] && { echo "--- $log"; tail -n 30 "$log"; } >&2
		done
	fi
	rm -rf --one-file-system "$T"
	exit $code
}
trap fuse_cleanup EXIT
trap 'exit 130' INT TERM
