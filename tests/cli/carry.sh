#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# carry: the program, its libraries and loader, and QEMU with its modules lie on the stick: what
# runs, or serves a mount, is a copy on the host, nothing of the stick is mapped, and nothing is
# left behind.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

stick=$work/stick
mkdir -p "$stick"/{bin,lib/qemu,share} "$work/mnt"
at_end 'umount -l "$work/mnt"'
works "$vm" init "$stick"
works "$vm" --stick "$stick" create g --size 64M --ram 256M --cpu roam
cp "$vm" "$stick/bin/"
ldd "$vm" | grep -o '/[^ ]*' | xargs -I{} cp -L {} "$stick/lib/"
qemu=$(command -v qemu-system-x86_64)
cp "$qemu" "$stick/bin/"
find /usr/lib -path '*/qemu/accel-tcg-*.so' -exec cp {} "$stick/lib/qemu/" ';'
cp -rL /usr/share/seabios "$stick/share/seabios"
mkdir "$stick/share/qemu"
cp -L /usr/share/qemu/*.bin "$stick/share/qemu/" # a few that the machine asks for

# PID: nothing of the stick is mapped into it.
not_on_stick() {
	grep -q . "/proc/$1/maps" || die "process $1 is gone"
	! grep "$stick" "/proc/$1/maps" || die "process $1 is read from the stick"
}

# Finds the stick by itself: by the path it was started by, not by the copy's.
loader=$(basename "$(ldd "$vm" | grep -o '/[^ ]*ld-linux[^ ]*')")
for way in alone loader; do
	start=("$stick/bin/stickvm")
	[ $way = alone ] || start=("$stick/lib/$loader" --library-path "$stick/lib" "${start[@]}")
	fresh
	STICKVM_QEMU=$stick/bin/qemu-system-x86_64 "${start[@]}" run g --accel tcg --display none \
		>"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
	wait_line 'g runs' "$work/words" 60
	not_on_stick $run
	not_on_stick "$(pgrep -P $run -f qemu-system)"
	left=$(find /dev/shm "$XDG_RUNTIME_DIR" -maxdepth 1 -name 'stickvm-carried-*')
	[ -z "$left" ] || die "left behind: $left"
	works "$vm" --stick "$stick" stop g --force --timeout 1
	wait_end $run 0 20

	# The server of a mount, too; umount knows the copy as stickvm.
	works "${start[@]}" mount g "$work/mnt"
	server=$(findmnt -no SOURCE "$work/mnt" | sed 's/.*#//')
	not_on_stick "$server"
	left=$(find /dev/shm "$XDG_RUNTIME_DIR" -maxdepth 1 -name 'stickvm-carried-*')
	[ -z "$left" ] || die "left behind by mount: $left"
	works "$vm" umount "$work/mnt"
	[ ! -e "/proc/$server/exe" ] || die "umount did not wait for the server"
done

# One that lies elsewhere is executed where it is.
fresh
FAKE=presses FAKE_LOG=$work/told STICKVM_QEMU=$SRC/tests/support/fake_qemu.py \
	"$vm" --stick "$stick" run g --accel tcg >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'g runs' "$work/words" 60
[ "$(readlink "/proc/$run/exe")" = "$(realpath "$vm")" ] || die "copied without need"
works "$vm" --stick "$stick" stop g --force --timeout 1
wait_end $run 0 20
nothing_left
