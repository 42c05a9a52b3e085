#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# locks: two writers never: on ext4, exFAT, NTFS and a raw partition; other paths, other users,
# other mount namespaces; a lock is gone with its process.
# test-labels: once
if [ -z "${OWN_NAMESPACE:-}" ]; then
	exec env OWN_NAMESPACE=1 unshare --mount --propagation private bash "$0"
fi
# shellcheck source-path=SCRIPTDIR source=../support/cli.sh
. "${SRC:?the source tree}/tests/support/cli.sh"

mnt=$work/mnt
mkdir "$mnt" "$work/disk" "$work/disk2" "$work/other" "$work/second"
for dir in "$mnt" "$work/second" "$work/other" "$work/disk2" "$work/disk"; do
	at_end "umount -l '$dir'"
done
mknod "$work/fuse" c 10 229
chmod 666 "$work/fuse"
mount --bind "$work/fuse" /dev/fuse
chmod 755 "$work"
cp "$vm" "$work/stickvm"
chmod 755 "$work/stickvm"

# PID of the process that serves a mounted disk.
server_of() {
	findmnt -no SOURCE "$1" | sed 's/.*#//'
}

# PID: killed, and waited for as long as the kernel takes to end it.
end_now() {
	kill -9 "$1"
	while grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null; do
		sleep 0.01
	done
}

# STICK...: a writer through this path is refused, and the holder is named; so is a reader.
is_locked() {
	local holder=$1 path
	shift
	for path in "$@"; do
		refused 5 "in use by another process \(.*, pid $holder, user [a-z]+\)" \
			"$vm" --stick "$path" mount a "$work/disk2"
		refused 5 "pid $holder" "$vm" --stick "$path" mount a "$work/disk2" --read-only
		refused 5 "pid $holder" "$vm" --stick "$path" check a
		refused 5 "pid $holder" "$vm" --stick "$path" delete a --yes
	done
}

# The stick is mounted at $mnt, with the VM "a": everything that must be refused, and what comes
# after a kill.
try_all() {
	local holder raw
	works "$vm" --stick "$mnt" mount a "$work/disk"
	holder=$(server_of "$work/disk")
	ln -sfn "$mnt" "$work/link"
	mount --bind "$mnt" "$work/other"
	is_locked "$holder" "$mnt" "$work/link" "$work/other"
	umount "$work/other"

	# From another mount namespace, and from one where the holder's PID means nothing.
	refused 5 "pid $holder" unshare --mount "$vm" --stick "$mnt" mount a "$work/disk2"
	refused 5 'in use by another process;' unshare --mount --pid --fork --mount-proc \
		"$vm" --stick "$mnt" mount a "$work/disk2"

	# The other way round: the first writer sits in another namespace.
	works "$vm" umount "$work/disk"
	unshare --mount "$vm" --stick "$mnt" mount a "$work/disk" --foreground &
	away=$!
	at_end "kill -9 $away"
	until "$vm" --stick "$mnt" list --json | grep -q '"in use"'; do
		[ $((tries = ${tries:-0} + 1)) -lt 100 ] || die "it does not start"
		sleep 0.1
	done
	tries=0
	is_locked "$away" "$mnt"

	# A dead process leaves no lock. Each of these opens at once.
	for round in 1 2 3; do
		kill -9 "$away"
		wait "$away" || true
		works "$vm" --stick "$mnt" mount a "$work/disk"
		echo "round $round" | dd of="$work/disk/disk.raw" conv=notrunc,fsync status=none
		away=$(server_of "$work/disk")
		end_now "$away"
		umount -l "$work/disk"
		unshare --mount "$vm" --stick "$mnt" mount a "$work/disk" --foreground &
		away=$!
		until "$vm" --stick "$mnt" list --json | grep -q '"in use"'; do
			[ $((tries = tries + 1)) -lt 100 ] || die "it does not start again"
			sleep 0.1
		done
		tries=0
	done
	kill "$away"
	wait "$away" || die "it did not end well"
	works "$vm" --stick "$mnt" mount a "$work/disk" --read-only
	[ "$(head -c 7 "$work/disk/disk.raw")" = "round 3" ] || die "what was written is gone"
	# Readers share; a writer waits for all of them to go.
	works "$vm" --stick "$mnt" mount a "$work/disk2" --read-only
	refused 5 'in use by another process' "$vm" --stick "$mnt" mount a "$work/second"
	works "$vm" umount "$work/disk2"
	works "$vm" umount "$work/disk"
	works "$vm" --stick "$mnt" check a --deep
}

attach() { # NAME MIB: a loop device over a new image
	truncate -s "$2M" "$work/$1"
	loop=$(losetup -f --show "$work/$1")
	at_end "losetup -d '$loop'"
}

mount_stick() { # FS FOLDER
	case $1 in
	ext4) mount -t ext4 "$loop" "$2" ;;
	exfat) mount.exfat-fuse "$loop" "$2" >/dev/null ;;
	ntfs) ntfs-3g "$loop" "$2" ;;
	esac
}

unmount_stick() {
	umount "$mnt"
	for i in $(seq 50); do # a FUSE daemon goes on for a moment
		fuser -s "$loop" 2>/dev/null || return 0
		sleep 0.1
	done
}

for fs in ext4 exfat ntfs; do
	attach "$fs.img" 200
	case $fs in
	ext4) mkfs.ext4 -q "$loop" ;;
	exfat) mkfs.exfat "$loop" >/dev/null ;;
	ntfs) mkfs.ntfs -q -f "$loop" >/dev/null 2>&1 ;;
	esac
	mount_stick $fs "$mnt"
	works "$vm" init "$mnt"
	"$vm" --stick "$mnt" create a --size 16M >"$work/out" 2>&1 || die "$(cat "$work/out")"
	try_all

	# A second mount of the same device: ext4 is one file system underneath; NTFS is refused by
	# the kernel. Two of exfat-fuse's are two file systems that do not know of each other, and
	# ruin each other whatever we do: that cannot be seen (storage/DESIGN.md, "Lock").
	works "$vm" --stick "$mnt" mount a "$work/disk"
	case $fs in
	ext4)
		mount_stick $fs "$work/second"
		is_locked "$(server_of "$work/disk")" "$work/second"
		umount "$work/second"
		;;
	ntfs) ! mount_stick $fs "$work/second" 2>/dev/null || die "NTFS: mounted twice" ;;
	esac
	works "$vm" umount "$work/disk"

	# Root and an ordinary user, either first.
	if [ $fs = ext4 ]; then
		chown -R nobody "$mnt/stickvm"
		mkdir "$work/user"
		chown nobody "$work/user"
		as_user() {
			setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$work" \
				"$work/stickvm" --stick "$mnt" "$@"
		}
		works as_user mount a "$work/user"
		at_end "umount -l '$work/user'"
		is_locked "$(server_of "$work/user")" "$mnt"
		works as_user umount "$work/user"
		works "$vm" --stick "$mnt" mount a "$work/disk"
		refused 5 "pid $(server_of "$work/disk"), user root" as_user mount a "$work/user"
		works "$vm" umount "$work/disk"
	fi
	unmount_stick
	echo "locks: $fs ok"
done

# A raw partition: the device itself, under any name of its node.
attach raw.img 200
raw=$loop
mkdir "$work/rawstick"
works "$vm" init "$work/rawstick"
"$vm" --stick "$work/rawstick" create a --size 16M --place "$raw" --yes >"$work/out" 2>&1 ||
	die "create: $(cat "$work/out")"
works "$vm" --stick "$work/rawstick" mount a "$work/disk"
holder=$(server_of "$work/disk")
is_locked "$holder" "$work/rawstick"
cp -a "$work/rawstick" "$work/rawlink"
mknod "$work/node" b $((0x$(stat -c %t "$raw"))) $((0x$(stat -c %T "$raw")))
sed -i "s#^place:.*#place: $work/node#" "$work/rawlink/stickvm/vms/a/vm.yaml"
refused 5 'in use by another process' "$vm" --stick "$work/rawlink" mount a "$work/disk2" \
	--allow-outside
end_now "$holder"
umount -l "$work/disk"
works "$vm" --stick "$work/rawlink" mount a "$work/disk" --allow-outside
refused 5 'in use by another process' "$vm" --stick "$work/rawstick" mount a "$work/disk2"
works "$vm" umount "$work/disk"
works "$vm" --stick "$work/rawstick" check a --deep
echo "locks: ok"
