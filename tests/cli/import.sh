#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# import: create --from with every kind of image, hash for hash; holes stay holes; who is missing.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick" "$work/mnt"
export STICKVM_STICK=$stick
works "$vm" init "$stick"
at_end umount -l "$work/mnt"
cd "$work"

# Data at both ends, text that compresses, a large hole, written zeros.
truncate -s $((64 << 20 | 3 * 512)) raw
head -c 3M /dev/urandom | dd of=raw conv=notrunc status=none
{ yes 'a line of text' || true; } | head -c 2M | dd of=raw bs=1M seek=20 conv=notrunc status=none
head -c 1M /dev/zero | dd of=raw bs=1M seek=30 conv=notrunc status=none
head -c 1536 /dev/urandom | dd of=raw bs=512 seek=$((128 << 10)) conv=notrunc status=none

# NAME: the VM's disk holds what QEMU reads from the image NAME of the format FORMAT.
same_disk() {
	qemu-img convert -f "$2" -O raw "$1" expected
	works "$vm" mount "$1" mnt --read-only
	cmp expected mnt/disk.raw || die "$1: the import differs"
	works "$vm" umount mnt
}

# NAME FORMAT: imported, compared, small (the data is 5 MiB), and removed.
imported() {
	works "$vm" create "$1" --from "$1"
	same_disk "$1" "$2"
	works "$vm" list --json
	json 'j["vms"][0]["used_bytes"] < 6 << 20' True
	works "$vm" delete "$1" --yes
}

# NAME FORMAT QEMU-IMG'S WORDS...
kind() {
	local name=$1 format=$2
	shift 2
	qemu-img convert -f raw -O "$format" "$@" raw "$name"
	imported "$name" "$format"
}

cp --sparse=always raw plain
imported plain raw
kind qcow1 qcow
kind v2 qcow2 -o compat=0.10
kind v3 qcow2
kind zlib qcow2 -c
kind zstd qcow2 -c -o compression_type=zstd
kind extended qcow2 -o extended_l2=on
kind external qcow2 -o data_file=external.data
kind vmdk vmdk
kind flat vmdk -o subformat=monolithicFlat
kind vdi vdi
kind vhdx vhdx
kind vpc vpc

# A chain of three, each larger than the one below, in another folder.
mkdir sub
cp raw sub/base
qemu-img create -q -f qcow2 -b base -F raw sub/middle 70M
qemu-io -f qcow2 -c 'write -P 7 1M 64k' -c 'write -z 20M 1M' sub/middle >"$work/out"
qemu-img create -q -f qcow2 -b sub/middle -F qcow2 chain 80M
qemu-io -f qcow2 -c 'write -P 8 79M 1M' chain >"$work/out"
imported chain qcow2

# A larger disk than the image: zeros behind it.
works "$vm" create grown --from v3 --size 100M
truncate -s 100M raw
works "$vm" mount grown mnt --read-only
cmp raw mnt/disk.raw || die "grown: the import differs"
works "$vm" umount mnt
works "$vm" delete grown --yes

# Without QEMU's tools: what libqcow reads still works, the rest says what is missing.
mkdir bin
for tool in cat env sh; do ln -s "$(command -v $tool)" bin/; done
works env PATH="$work/bin" "$vm" create zlib --from zlib
works "$vm" delete zlib --yes
for image in zstd vmdk vdi vhdx; do
	refused 1 "$image: needs QEMU's qemu-nbd.*install the package qemu-utils" \
		env PATH="$work/bin" "$vm" create x --from $image
done

# What is refused leaves nothing behind.
before=$(tree_of "$stick/stickvm/vms")
rm sub/base
refused 1 'chain: its backing file sub/base cannot be opened' "$vm" create x --from chain
qemu-img create -q -f qcow2 circle 1M
qemu-img rebase -u -f qcow2 -b circle -F qcow2 circle
refused 1 'circle: .*is its own backing file' "$vm" create x --from circle
truncate -s -300000 zstd vmdk vdi
for image in zstd vmdk vdi; do
	refused 1 "$image: is (damaged or truncated|truncated or damaged)" \
		"$vm" create x --from $image
done
[ "$(tree_of "$stick/stickvm/vms")" = "$before" ] || die "a refused import left something"
echo "import: 13 kinds, a chain, 9 refusals"
