#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_files: what lies beside the disk on a stick that is pulled: the firmware's variables reach
# the stick wherever it is then, also those that change during the pull, and through a parked
# state; the CD is read on by a guest that sees no error.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

# COMMAND NODE: qemu-io in the running QEMU, through a monitor of our own; what it printed is in
# $work/io (QEMU's standard output, which is the one of `run`).
qemu_io() {
	python3 - "$work/qmp" "$2" "$1" <<'END'
import json, socket, sys
path, node, command = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(60)
    s.connect(path)
    f = s.makefile("rw")
    f.readline()
    for name, args in (("qmp_capabilities", {}), ("human-monitor-command",
                       {"command-line": f'qemu-io {node} "{command}"'})):
        f.write(json.dumps({"execute": name, "arguments": args}) + "\n")
        f.flush()
        while "event" in (answer := json.loads(f.readline())):
            pass
        if "error" in answer or "rror" in str(answer.get("return", "")):
            sys.exit(f"{command}: {answer}")
END
}

# The variables, as the stick has them.
vars() {
	md5sum <"$mnt/stickvm/vms/u/uefi-vars.fd"
}

# BYTE: whether the stick has it where the test writes: in the last bytes, which no firmware uses.
spot=$((0x83ff0)) # of a file of 528 KiB
has_now() {
	[ "$(od -An -tx1 -N1 -j "$spot" "$mnt/stickvm/vms/u/uefi-vars.fd")" = " $1" ]
}

has_byte() {
	local end=$((SECONDS + 30))
	until has_now "$1"; do
		[ $SECONDS -lt $end ] || die "no byte $1 on the stick: $(cat "$work/words")"
		sleep 0.2
	done
}

start_uefi() {
	rm -f "$work/words" "$work/io"
	"$vm" --stick "$mnt" run u --accel tcg -- -qmp "unix:$work/qmp,server=on,wait=off" \
		>"$work/io" 2>"$work/words" </dev/null &
	run=$!
	at_end "end_run $run"
	wait_line 'u runs|u: it goes on' "$work/words" 60
}

# COUNT: the pull of this number, with both files gone from QEMU's view.
pull_uefi() {
	pull
	dd if=/dev/zero of="$(echo "$XDG_RUNTIME_DIR"/stickvm/*/disk)/disk.raw" bs=4096 count=1 \
		oflag=direct conv=notrunc,fsync 2>/dev/null || true
	said 'u: the stick is gone: the VM is frozen' "$1"
	forget_mount
}

python3 -c 'print("CD of the stick " * (1 << 19), end="")' >"$work/cd.iso"
start_sim --profile P5 --size 1G
make_fs ext4
plug_in
works "$vm" init "$mnt"
works "$vm" --stick "$mnt" create u --size 64M --ram 256M --cpus 1 --cpu roam --firmware uefi \
	--iso "$work/cd.iso"

# The firmware writes its variables at its first start; while it runs they come to the stick.
start_uefi
template=$(vars)
for ((i = 0; i < 600; i++)); do
	[ "$(vars)" = "$template" ] || break
	sleep 0.2
done
[ "$(vars)" != "$template" ] || die "the firmware's own changes did not come to the stick"
qemu_io "write -P 0x41 $spot 1" fw-vars
has_byte 41

# What is set during a pull comes to where the stick is then; the CD can be read there.
pull_uefi 1
qemu_io "write -P 0x42 $spot 1" fw-vars
plug
said 'u: the stick is back' 1 60
has_byte 42
qemu_io 'read -v 0 16' cd0
wait_line 'CD.of.the.stick' "$work/io" 10
pull_uefi 2
plug
said 'u: the stick is back' 2 60
rm -f "$work/io.before" && cp "$work/io" "$work/io.before"
qemu_io 'read -v 4M 16' cd0
before=$(grep -ac 'CD.of.the.stick' "$work/io.before")
[ "$(grep -ac 'CD.of.the.stick' "$work/io")" -gt "$before" ] ||
	die "the CD cannot be read: $(cat "$work/io")"
! grep -q 'CD image' "$work/words" || die "the CD: $(cat "$work/words")"

# What changes just before the end is there, too.
qemu_io "write -P 0x43 $spot 1" fw-vars
works "$vm" --stick "$mnt" stop u --force --timeout 1
wait_end $run 0 60
has_byte 43
nothing_left
[ -z "$(find "$XDG_RUNTIME_DIR" -name vars.fd)" ] || die "the copy is left"

# Parked: the flash memory, into which QEMU read the byte 43 at this start, is part of the machine,
# and the stick gets it back with it, whatever its file says meanwhile.
start_uefi
pull_uefi 1
works "$vm" park u --yes
wait_end $run 0 60
plug
vars_file=$mnt/stickvm/vms/u/uefi-vars.fd
cp /usr/share/OVMF/OVMF_VARS_4M.fd "$vars_file"
sync
! has_now 43 || die "the template has the byte, and this proves nothing"
start_uefi
said 'u: it goes on from where it was parked' 1
has_byte 43
works "$vm" --stick "$mnt" stop u --force --timeout 1
wait_end $run 0 60
nothing_left
echo "variables and CD: 3 pulls"
umount -l "$mnt"
drop_loop "$loop"
umount -l "$sim"

# A guest that reads the CD all the time, past its own cache.
guest_image --kernel full
sim=$work/sim-cd
start_sim --profile P5 --size 2G
make_fs ext4
plug_in
make_stick "$mnt"
unset STICKVM_STICK
head -c 24M /dev/urandom >"$work/cd.iso"
sum=$(md5sum <"$work/cd.iso")
cp "$work/cd.iso" "$mnt/stickvm/vms/g/setup.iso"
sync "$mnt/stickvm/vms/g/setup.iso"
works "$vm" --stick "$mnt" set g iso=setup.iso
make_job <<END
$(guest_says_bad)
i=0
while :; do
	echo 3 >/proc/sys/vm/drop_caches
	[ "\$(md5sum </dev/sr0)" = "$sum" ] || bad "CD \$i"
	errors=\$(dmesg | grep -ciE 'I/O error|sr0.*(sense|fail)|ata.*exception')
	[ \$errors = 0 ] || { bad kernel; dmesg | tail -5; }
	echo "round \$i ok time=\$(date +%s)"
	i=\$((i + 1))
done
END
start_job
wait_line "round .* ok" "$serial" 180
for n in 1 2 3; do
	pull
	# QEMU reads the image through the host's cache.
	dd if="$mnt/stickvm/vms/g/setup.iso" iflag=nocache count=0 status=none || true
	# A loop device stays when what is below it is gone, so the store has to notice.
	sync "$(echo "$XDG_RUNTIME_DIR"/stickvm/*/disk)/disk.raw" 2>/dev/null || true
	said 'g: the stick is gone: the VM is frozen' $n 30
	sleep 2
	forget_mount
	plug
	said 'g: the stick is back' $n 60
	more_rounds 2
done
kill -TERM $run
wait_end $run 0 60
no_error
nothing_left
stopped=$(grep -c 'CD-ROM drive cannot' "$work/words" || true)
echo "CD: 3 pulls, $stopped stopped a read, $(rounds) rounds of the guest, no error"
