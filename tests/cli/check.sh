#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# check: damage is found, named by range, place and file; --repair mends what can be proven.
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick"
works "$vm" init "$stick"
export STICKVM_STICK=$stick
works "$vm" create one --size 64M
store=$stick/stickvm/vms/one/disk/store.000

# A disk with a partition table, and an ext4 with two files in its second partition.
fs=$work/fs
truncate -s 40M "$fs"
mkfs.ext4 -q -F -O ^has_journal "$fs"
head -c 2000000 /dev/urandom >"$work/victim"
head -c 2000000 /dev/urandom >"$work/other"
debugfs -w -R "write $work/other other" "$fs" >"$work/out" 2>&1
debugfs -w -R "mkdir folder" "$fs" >"$work/out" 2>&1
debugfs -w -R "write $work/victim folder/victim" "$fs" >"$work/out" 2>&1
python3 - "$work/table" <<'END'
import struct, sys
table = bytearray(512)
for i, (first, count) in enumerate([(2048, 2048), (4096, 81920)]):
    struct.pack_into("<8B2I", table, 446 + 16 * i, 0, 0, 0, 0, 0x83, 0, 0, 0, first, count)
table[510:] = b"\x55\xaa"
open(sys.argv[1], "wb").write(table)
END
mkdir "$work/mnt"
at_end umount -l "$work/mnt"
works "$vm" mount one "$work/mnt"
dd if="$work/table" of="$work/mnt/disk.raw" conv=notrunc status=none
dd if="$fs" of="$work/mnt/disk.raw" bs=1M seek=2 conv=notrunc,fsync status=none
works "$vm" umount "$work/mnt"
works "$vm" check one --deep
says 'no damage found'

# FILE: the places in the container of its 3000th block of 512 bytes, also of those that are dead.
place_of() {
	python3 - "$store" "$1" <<'END'
import sys
needle = open(sys.argv[2], "rb").read()[1536000:1536064]
data = open(sys.argv[1], "rb").read()
at = data.find(needle)
while at >= 0:
    print(at)
    at = data.find(needle, at + 1)
END
}
turn() { # FILE PLACE: one byte
	python3 - "$1" "$2" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([byte ^ 4]))
END
}

# --repair of a healthy store changes nothing.
before=$(tree_of "$stick")
works "$vm" check one --repair
says 'no damage found'
[ "$(tree_of "$stick")" = "$before" ] || die "a repair changed a healthy store"

# A block of a file: the range, the place, the name.
at=$(place_of "$work/victim")
[ "$at" -gt 0 ] || die "the file's bytes are not in the store"
cp "$store" "$work/whole"
turn "$store" "$at"
refused 4 'one: 1 finding; ' "$vm" check one --deep
says '^one: bytes [0-9]+ to [0-9]+ of the disk: data does not verify \(at [0-9]+ of the store\)'
says '^one: affected: partition 2: /folder/victim$'
if grep -q '/other' "$work/out"; then die "a file that is whole is named"; fi
refused 4 'one: 1 finding; ' "$vm" check one --deep --json
json 'j["vms"][0]["files"], j["vms"][0]["findings"][0]["len_bytes"]' \
	"[{'partition': 2, 'path': '/folder/victim'}] 4096"
works "$vm" check one
says 'structure only'
# It cannot be mended; the rest is as it was.
before=$(sha256sum <"$store")
refused 4 'one: 1 finding; ' "$vm" check one --repair
[ "$(sha256sum <"$store")" = "$before" ] || die "a repair changed what it cannot mend"

# Writing the block heals it.
works "$vm" mount one "$work/mnt"
dd if="$fs" of="$work/mnt/disk.raw" bs=1M seek=2 conv=notrunc,fsync status=none
cmp -n $((40 << 20)) -i 2M:0 "$work/mnt/disk.raw" "$fs" || die "the rewritten disk is another one"
works "$vm" umount "$work/mnt"
# What nobody needs any more may still lie in the chain, which a repair begins anew.
works "$vm" check one --repair
works "$vm" check one --deep
says 'no damage found'

# Both anchors: nothing opens, and nothing is lost. FORMAT.md: the first piece is named at byte 128
# of the container's header; an anchor has the length of a segment at byte 56.
number() { # PLACE BYTES: as it lies in the store
	python3 -c 'import sys; f = open(sys.argv[1], "rb"); f.seek(int(sys.argv[2]))
print(int.from_bytes(f.read(int(sys.argv[3])), "little"))' "$store" "$1" "$2"
}
base=$(number 128 8)
segment=$(number $((base + 56)) 4)
turn "$store" $((base + 100))
refused 4 'one: 1 finding; ' "$vm" check one
says 'the first anchor does not verify'
for at in $base $((base + segment)); do
	dd if=/dev/zero of="$store" bs=512 count=1 seek=$((at / 512)) conv=notrunc status=none
done
refused 4 'one: no disk was found|one: the disk is damaged' "$vm" check one
works "$vm" check one --repair
says '^one: rebuilt from [0-9]+ batches; 0 bytes of the disk could not be proven'
says '^one: no damage found$'
kept=$(printf "%s\n" "$stick"/stickvm/vms/one/before-repair-* | tail -1)
[ "$(stat -c %s "$kept/place-0.bin")" = 4096 ] || die "what was replaced is not kept"
[ -f "$kept/place-$segment.bin" ] || die "the second anchor is not kept"
works "$vm" mount one "$work/mnt" --read-only
cmp -n $((40 << 20)) -i 2M:0 "$work/mnt/disk.raw" "$fs" || die "the disk is another one"
works "$vm" umount "$work/mnt"

# One copy of the container's header, one anchor.
turn "$store" 20
turn "$store" $((base + 70))
refused 4 'one: 2 findings; ' "$vm" check one --deep
says "a copy of a container's header does not verify"
works "$vm" check one --repair
says 'no damage found'
works "$vm" check one --deep

# Both copies: nothing says any more what lies where in the file. It is said, and left as it is.
cp "$store" "$work/whole"
beyond_repair() { # PATTERN PLACE...: a byte turns at each
	local at before said=$1
	cp "$work/whole" "$store"
	for at in "${@:2}"; do
		turn "$store" "$at"
	done
	before=$(sha256sum <"$store")
	refused 4 "one: $said; .*restore it from a backup" "$vm" check one
	refused 4 "one: $said; .*restore it from a backup" "$vm" check one --repair
	refused 4 "one: $said; .*restore it from a backup" "$vm" mount one "$work/mnt"
	works "$vm" list --json
	json 'j["vms"][0]["state"]' damaged
	[ "$(sha256sum <"$store")" = "$before" ] || die "what cannot be mended was changed"
}
beyond_repair 'the headers of .*/disk are damaged' 20 $((32768 + 20))
beyond_repair 'the headers of .*/disk are damaged' 1 $((32768 + 130))
beyond_repair '.*/disk holds no disk of stickvm' 1 $((32768 + 1))
cp "$work/whole" "$store"
works "$vm" check one --deep

# Without debugfs it says so.
if [ "$(id -u)" = 0 ] && command -v unshare >/dev/null; then
	for at in $(place_of "$work/other"); do
		turn "$store" "$at"
	done
	refused 4 'one: 1 finding' unshare -m bash -c "
		for f in /usr/sbin/debugfs /sbin/debugfs; do
			[ ! -e \$f ] || mount --bind /dev/null \$f 2>/dev/null
		done; exec '$vm' check one --deep"
	says 'not named: debugfs'
fi
