#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# create: sizes, the machine, import, ISO, a raw place; all of a VM or nothing.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick" "$work/mnt"
export STICKVM_STICK=$stick
works "$vm" init "$stick"
vms=$stick/stickvm/vms
at_end umount -l "$work/mnt"

# NAME: the digest of what the VM's disk holds.
disk_sum() {
	works "$vm" mount "$1" "$work/mnt" --read-only
	b2sum <"$work/mnt/disk.raw"
	works "$vm" umount "$work/mnt"
}

# Defaults, and each option of the machine as it comes out.
"$vm" create plain >/dev/null 2>&1 || die "create without options"
works "$vm" show plain --json
json 'j["size_bytes"] >> 30, j["ram_bytes"] >> 30, j["cpus"], j["bus"], j["firmware"], j["os"]' \
	'64 4 2 virtio-blk bios linux'
json 'j["mac"][:9], len(j["uuid"]), 20000 <= j["ssh_port"] < 32000, j["machine"]' \
	'52:54:00: 36 True pc-q35-7.2'
works "$vm" create set --size 65M --ram 96M --cpus 3 --cpu host --bus nvme --firmware uefi \
	--os other
works "$vm" show set --json
json 'j["size_bytes"] >> 20, j["ram_bytes"] >> 20, j["cpus"]' '65 96 3'
json 'j["cpu"], j["bus"]' 'host nvme'
json 'j["firmware"], j["os"]' 'uefi other'
works "$vm" create win --size 64M --os windows
works "$vm" show win --json
json 'j["bus"], j["firmware"]' 'sata uefi'
works "$vm" list --json
json 'len(set(v["uuid"] for v in j["vms"]))' 3
works "$vm" delete plain --yes
works "$vm" delete set --yes
works "$vm" delete win --yes

# A disk larger than the stick is thin, and warned about.
"$vm" create big --size 16T >/dev/null 2>"$work/err" || die "16T: $(cat "$work/err")"
grep -q 'warning: big: the disk has 16.0 TiB, the stick only' "$work/err" || die "no warning"
works "$vm" delete big --yes

# Import: raw with holes, through every size rule; hash for hash.
truncate -s 96M "$work/raw"
head -c 5M /dev/urandom | dd of="$work/raw" bs=1M seek=7 conv=notrunc status=none
head -c 700 /dev/urandom | dd of="$work/raw" bs=1 seek=50000000 conv=notrunc status=none
sum=$(b2sum <"$work/raw")
works "$vm" create raw --from "$work/raw"
works "$vm" show raw --json
json 'j["size_bytes"]' 100663296
[ "$(disk_sum raw)" = "$sum" ] || die "the import differs"
works "$vm" create larger --from "$work/raw" --size 128M
truncate -s 128M "$work/raw"
[ "$(disk_sum larger)" = "$(b2sum <"$work/raw")" ] || die "the grown import differs"
refused 2 'less than the image' "$vm" create smaller --from "$work/raw" --size 64M
used=$("$vm" list --json | python3 -c \
	'import json,sys; print(max(v["used_bytes"] for v in json.load(sys.stdin)["vms"]))')
[ "$used" -lt 8000000 ] || die "holes take room: $used"
if command -v qemu-img >/dev/null; then
	qemu-img convert -c -O qcow2 "$work/raw" "$work/qcow2"
	works "$vm" create qcow2 --from "$work/qcow2"
	[ "$(disk_sum qcow2)" = "$(b2sum <"$work/raw")" ] || die "the qcow2 import differs"
else
	die "qemu-img is missing"
fi

# ISO: copied, or linked; nothing else.
head -c 3M /dev/urandom >"$work/cd.iso"
works "$vm" create iso --size 64M --iso "$work/cd.iso"
cmp "$work/cd.iso" "$vms/iso/cd.iso" || die "the ISO was not copied"
works "$vm" show iso --json
json 'j["iso"]' cd.iso
works "$vm" create link --size 64M --iso "$work/cd.iso" --iso-link
[ ! -e "$vms/link/cd.iso" ] || die "--iso-link copied"
works "$vm" show link --json
json 'j["iso"]' "$work/cd.iso"
refused 2 'no --iso' "$vm" create x --iso-link
refused 1 'No such file' "$vm" create x --iso "$work/none.iso"
refused 1 'not an ISO' "$vm" create x --iso "$work"

# A raw place: asked for, made once, deleted, made again.
truncate -s 300M "$work/part"
refused 2 'add --yes' "$vm" create onraw --size 64M --place "$work/part"
works "$vm" create onraw --size 64M --place "$work/part" --yes
works "$vm" show onraw --json
json 'j["place"]' "$work/part"
[ ! -e "$vms/onraw/disk" ] || die "a folder for a disk that lies elsewhere"
works "$vm" mount onraw "$work/mnt"
echo hello | dd of="$work/mnt/disk.raw" conv=notrunc status=none
works "$vm" umount "$work/mnt"
works "$vm" check onraw --deep
refused 1 'holds a disk of stickvm already' "$vm" create again --place "$work/part" --yes
works "$vm" delete onraw --yes
works "$vm" create again --size 64M --place "$work/part" --yes
[ "$(disk_sum again)" = "$(head -c 64M /dev/zero | b2sum)" ] || die "old data came back"
refused 3 'No such file' "$vm" create x --place "$work/none" --yes
refused 2 'not a partition' "$vm" create x --place "$work" --yes

# Refusals that must leave nothing.
before=$(tree_of "$stick")
refused 1 'raw is there already' "$vm" create raw --size 64M
refused 2 "not a name" "$vm" create a/b
refused 2 "not a name" "$vm" create ..
refused 2 'not a multiple of 512' "$vm" create x --size 1048577
refused 2 'cannot be a disk' "$vm" create x --size 512K
refused 2 'cannot be a disk' "$vm" create x --size 17T
refused 2 "ram: cannot be" "$vm" create x --ram 5000
refused 2 'not in this version' "$vm" create x --encrypt
refused 2 'not in this version' "$vm" create x --cloud-init
[ "$(tree_of "$stick")" = "$before" ] || die "a refused create left something"

# Two at once of one name: one makes it, the other is refused and takes nothing away.
for round in 1 2 3; do
	"$vm" create race --size 64M >/dev/null 2>"$work/a" &
	one=$!
	status=0
	"$vm" create race --size 64M >/dev/null 2>"$work/b" || status=$?
	other=0
	wait $one || other=$?
	[ "$((status + other))" = 1 ] || die "race: $status and $other: $(cat "$work/a" "$work/b")"
	works "$vm" check race
	works "$vm" delete race --yes
done

# Interrupted half-way: 130, and the stick as it was.
truncate -s 8G "$work/huge"
head -c 400M /dev/urandom | dd of="$work/huge" bs=1M conv=notrunc status=none
before=$(ls -R "$stick")
# A job in the background has SIGINT ignored; the blocked and pending signal is seen all the same.
"$vm" create cut --from "$work/huge" >/dev/null 2>"$work/err" &
job=$!
for _ in $(seq 200); do
	[ -e "$vms/cut/disk/store.000" ] && break
	sleep 0.01
done
sleep 0.1
kill -TERM $job
status=0
wait $job || status=$?
[ $status = 130 ] || die "interrupted: status $status: $(cat "$work/err")"
grep -q 'cut: interrupted; what was made was removed' "$work/err" || die "$(cat "$work/err")"
[ "$(ls -R "$stick")" = "$before" ] || die "an interrupted create left something"
echo "create: ok"
