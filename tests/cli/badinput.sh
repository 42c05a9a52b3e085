#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input: each gets one clear line and the documented exit status, and loses nothing.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick" "$work/mnt" "$work/fs" "$work/sim" "$work/bare"
works "$vm" init "$stick"
works "$vm" --stick "$stick" create kept --size 64M
kept=$(tree_of "$stick")
unchanged() {
	[ "$(tree_of "$stick")" = "$kept" ] || die "$1 changed the stick"
}
at_end umount -l "$work/mnt"

# A missing stick, or a folder that is none.
for verb in list show 'set kept cpus=1' 'create x' 'delete x --yes' wear check \
	"mount kept $work/mnt"; do
	# shellcheck disable=SC2086
	refused 3 'nowhere: No such file.*; is the stick' "$vm" --stick "$work/nowhere" $verb
	# shellcheck disable=SC2086
	refused 3 "run 'stickvm init" "$vm" --stick "$work/bare" $verb
done
refused 3 'No such file' "$vm" init "$work/nowhere"
refused 2 'not a folder' "$vm" init "$SRC/CMakeLists.txt"

# A read-only stick: it can be read, and nothing else.
truncate -s 400M "$work/disk"
mkfs.ext4 -q -F "$work/disk"
loop=$(losetup -f --show "$work/disk")
at_end drop_loop "$loop"
mount "$loop" "$work/fs"
at_end umount -l "$work/fs"
refused 2 'is a device' "$vm" init "$loop"
mount -o remount,ro "$work/fs"
refused 1 'Read-only file system; the stick is mounted read-only' "$vm" init "$work/fs"
mount -o remount,rw "$work/fs"
works "$vm" init "$work/fs"
works "$vm" --stick "$work/fs" create ro --size 64M
mount -o remount,ro "$work/fs"
on_ro=("$vm" --stick "$work/fs")
refused 1 'Read-only file system' "${on_ro[@]}" create x --size 64M
refused 1 'Read-only file system' "${on_ro[@]}" set ro cpus=3
refused 1 'Read-only file system' "${on_ro[@]}" delete ro --yes
refused 1 'Read-only file system' "${on_ro[@]}" mount ro "$work/mnt"
works "${on_ro[@]}" list
works "${on_ro[@]}" wear --json
works "${on_ro[@]}" check --deep
works "${on_ro[@]}" mount ro "$work/mnt" --read-only
works "$vm" umount "$work/mnt"
mount -o remount,rw "$work/fs"

# A full stick: at the start of create, and in the middle of an import.
before=$(tree_of "$work/fs")
head -c 350M /dev/urandom >"$work/image"
"${on_ro[@]}" create full --from "$work/image" >"$work/out" 2>"$work/err" && die "it fitted"
[ "$(grep -c . "$work/err")" = 1 ] || die "not one line: $(cat "$work/err")"
grep -Eq '^stickvm create: .*(full|No space left).*; ' "$work/err" || die "$(cat "$work/err")"
[ "$(tree_of "$work/fs")" = "$before" ] || die "a create that did not fit left something"
mkdir "$work/fs/sub"
head -c 500M /dev/zero >"$work/fs/fill" 2>/dev/null || true
refused 1 'No space left on device; free some space' "$vm" init "$work/fs/sub"
[ -z "$(ls "$work/fs/sub")" ] || die "an init that failed left something"
refused 1 'No space left on device; free some space' "${on_ro[@]}" create full --size 64M
long=/$(printf 'x%.0s' $(seq 4000))
refused 1 'No space left on device; free some space' "${on_ro[@]}" set ro iso="$long"
rm -r "$work/fs/fill" "$work/fs/sub"
[ "$(tree_of "$work/fs")" = "$before" ] || die "a full stick lost something"
umount "$work/fs"
losetup -d "$loop"
export STICKVM_STICK=$stick

# Images.
: >"$work/empty"
head -c 1000 /dev/urandom >"$work/odd"
mkfifo "$work/pipe"
truncate -s 8M "$work/raw"
head -c 5M /dev/urandom | dd of="$work/raw" conv=notrunc status=none
qemu-img convert -O qcow2 "$work/raw" "$work/qcow2"
head -c 100 "$work/qcow2" >"$work/cut-header"
head -c 1500000 "$work/qcow2" >"$work/cut"
gzip -k "$work/raw"
refused 1 'none: .*No such file' "$vm" create x --from "$work/none"
refused 1 'empty: ' "$vm" create x --from "$work/empty"
refused 1 'odd: .*512' "$vm" create x --from "$work/odd"
refused 1 "$work: " "$vm" create x --from "$work"
refused 1 'pipe: ' "$vm" create x --from "$work/pipe"
refused 1 'raw.gz: ' "$vm" create x --from "$work/raw.gz"
refused 1 'cut-header: ' "$vm" create x --from "$work/cut-header"
refused 1 'cut: ' "$vm" create x --from "$work/cut"
unchanged "a bad image"

# A failed import takes its header off the raw place again: it can be used for another try.
truncate -s 300M "$work/part"
refused 1 'cut: ' "$vm" create x --from "$work/cut" --place "$work/part" --yes
works "$vm" create x --size 64M --place "$work/part" --yes
works "$vm" delete x --yes
kept=$(tree_of "$stick") # the ledger has a deleted VM more

# Names, sizes, two of one name.
for name in a/b ../x /x '' . .. .x -- 'a b' $'a\nb' "$(printf 'n%.0s' $(seq 65))"; do
	refused 2 '' "$vm" create "$name"
	refused 2 '' "$vm" delete "$name" --yes
done
refused 2 'multiple of 512' "$vm" create x --size 2097153
refused 2 'is not a size' "$vm" create x --size 1,5G
refused 2 'is not a size' "$vm" create x --size 99999999T
refused 1 'kept is there already' "$vm" create kept
unchanged "a bad name or size"

# A stick that fails, or leaves, in the middle: on a simulated one, as a raw partition.
"$BIN/flashsim" --profile P5 --size 512M --latency off "$work/sim"
at_end umount -l "$work/sim"
part=$work/sim/stick.img
for fault in 'fail-write 20 1000000' 'fail-write 2 1000000' 'unplug-at 15'; do
	echo "$fault" >"$work/sim/ctl"
	status=0
	"$vm" create eio --from "$work/raw" --place "$part" --yes >/dev/null 2>"$work/err" ||
		status=$?
	[ "$status" = 1 ] || [ "$status" = 3 ] || die "$fault: status $status"
	[ "$(wc -l <"$work/err")" = 1 ] || die "$fault: not one line: $(cat "$work/err")"
	grep -Eq '^stickvm create: eio: .*; ' "$work/err" || die "$fault: $(cat "$work/err")"
	unchanged "$fault"
	umount "$work/sim"
	"$BIN/flashsim" --profile P5 --size 512M --latency off "$work/sim"
done
loop=$(losetup -f --show --direct-io=on "$part")
at_end drop_loop "$loop"
dd if="$work/raw" of="$loop" bs=1M oflag=direct conv=fsync status=none
echo 'fail-read 4 1000000' >"$work/sim/ctl"
refused 1 "$loop: .*" "$vm" create eio --from "$loop"
unchanged "a source that fails"

# Disks of a newer format, and damaged ones: told apart, named, and left as they are.
check_disk() { # KIND STATUS PATTERN
	rm -f "$work/part"
	truncate -s 300M "$work/part"
	works "$vm" create odd --size 64M --place "$work/part" --yes
	"$BIN/unit-vm_store" "$1" "$work/part" || die "$1 cannot be made"
	local sum
	sum=$(b2sum <"$work/part")
	refused "$2" "$3" "$vm" check odd
	refused "$2" "$3" "$vm" mount odd "$work/mnt"
	refused "$2" "$3" "$vm" mount odd "$work/mnt" --read-only
	refused "$2" "$3" "$vm" wear odd
	works "$vm" list
	[ "$(b2sum <"$work/part")" = "$sum" ] || die "$1: the disk was changed"
	"$vm" delete odd --yes >/dev/null 2>&1 || die "$1: it cannot be deleted"
}
check_disk newer-place 1 'odd: .*newer stickvm'
check_disk newer-store 1 'odd: .*newer stickvm: .*bits'
check_disk all-anchors 4 'odd: .*; '
check_disk all-roots 4 'odd: the disk is damaged'
truncate -s 0 "$work/part"
truncate -s 300M "$work/part"
works "$vm" create odd --size 64M --place "$work/part" --yes
"$BIN/unit-vm_store" one-anchor "$work/part"
works "$vm" check odd --deep
works "$vm" mount odd "$work/mnt"
works "$vm" umount "$work/mnt"
works "$vm" delete odd --yes

# Bytes of the data that rot: found by check --deep, and only there.
works "$vm" create rot --from "$work/raw"
python3 - "$stick/stickvm/vms/rot/disk/store.000" "$work/raw" <<'PY'
import sys
store, raw = open(sys.argv[1], 'r+b'), open(sys.argv[2], 'rb').read()
data = store.read()
at = data.find(raw[1 << 20:(1 << 20) + 64])
assert at > 0
store.seek(at)
store.write(b'\xff' * 64)
PY
works "$vm" check rot
status=0
"$vm" check rot --deep >"$work/out" 2>"$work/err" || status=$?
[ $status = 4 ] || die "rot: status $status"
says '^rot: bytes [0-9]+ to [0-9]+ of the disk: '
grep -Eq '^stickvm check: rot: [0-9]+ findings?; ' "$work/err" || die "$(cat "$work/err")"

# The stick's own file, broken by hand.
cp "$stick/stickvm/stick.yaml" "$work/stick.yaml"
echo 'uuid: [' >>"$stick/stickvm/stick.yaml"
refused 1 'stick.yaml:[0-9]+: ' "$vm" list
echo 'colour: red' | cat "$work/stick.yaml" - >"$stick/stickvm/stick.yaml"
refused 1 'stick.yaml:[0-9]+: .colour: red. has no place here' "$vm" list
mv "$work/stick.yaml" "$stick/stickvm/stick.yaml"
works "$vm" list
says ^kept
echo "badinput: ok"
