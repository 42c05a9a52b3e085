#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# An ordinary user: init, create, mount and umount through fusermount3, and root kept out meanwhile.
# In a mount namespace of its own, with a /dev/fuse that everyone may open, as distributions do.
if [ -z "${OWN_NAMESPACE:-}" ]; then
	exec env OWN_NAMESPACE=1 unshare --mount --propagation private bash "$0"
fi
. "${SRC:?the source tree}/tests/support/cli.sh"

command -v fusermount3 >/dev/null || die "fusermount3 is missing"
mknod "$work/fuse" c 10 229
chmod 666 "$work/fuse"
mount --bind "$work/fuse" /dev/fuse
chmod 755 "$work"
cp "$vm" "$work/stickvm"
chmod 755 "$work/stickvm"
home=$work/home
mkdir -p "$home/stick" "$home/mnt" "$work/mnt"
chown -R nobody "$home"
at_end umount -l "$home/mnt"

as_user() {
	setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$home" \
		STICKVM_STICK="$home/stick" "$@"
}
user_vm() {
	as_user "$work/stickvm" "$@"
}

works user_vm init "$home/stick"
works user_vm create u --size 64M
works user_vm mount u "$home/mnt"
head -c 2M /dev/urandom >"$work/data"
as_user dd of="$home/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none <"$work/data" ||
	die "the user cannot write"
refused 5 'in use by another process' "$vm" --stick "$home/stick" mount u "$work/mnt"
refused 1 'not permitted|cannot be unmounted|Operation not permitted' \
	setpriv --reuid=65533 --regid=nogroup --clear-groups "$work/stickvm" umount "$home/mnt"
works user_vm umount "$home/mnt"
works user_vm check u --deep
works user_vm mount u "$home/mnt" --read-only
as_user cmp -n 2097152 "$home/mnt/disk.raw" - <"$work/data" || die "what was written is gone"
works user_vm umount "$home/mnt"

# Root is kept out, unless the user lets root in, which the host has to permit.
works user_vm mount u "$home/mnt"
! cat "$home/mnt/status.json" >/dev/null 2>&1 || die "root looks into a user's mount"
works user_vm umount "$home/mnt"
: >"$work/fuse.conf"
touch /etc/fuse.conf
mount --bind "$work/fuse.conf" /etc/fuse.conf
status=0 # fusermount3 has its own say, too
user_vm mount u "$home/mnt" --allow-root 2>"$work/err" || status=$?
[ $status = 1 ] || die "mounted without the host's permission: $status"
grep -q '^stickvm mount: .*not permitted: letting root in needs the line user_allow_other' \
	"$work/err" || die "$(cat "$work/err")"
works user_vm check u # nothing is left of it
echo user_allow_other >"$work/fuse.conf"
works user_vm mount u "$home/mnt" --allow-root
cmp -n 2097152 "$home/mnt/disk.raw" - <"$work/data" || die "root was to be let in"
! setpriv --reuid=65533 --regid=nogroup --clear-groups cat "$home/mnt/status.json" 2>"$work/err" ||
	die "another user was let in, too"
works user_vm umount "$home/mnt"

# What the user may not write is left alone, with one line.
mkdir "$work/roots"
works "$vm" init "$work/roots"
before=$(tree_of "$work/roots")
refused 1 'Permission denied' as_user "$work/stickvm" --stick "$work/roots" create x --size 64M
mkdir "$work/bare"
refused 1 'Permission denied; mount the stick so that this user may write' user_vm init "$work/bare"
[ "$(tree_of "$work/roots")" = "$before" ] || die "a refused create left something"
[ -z "$(ls "$work/bare")" ] || die "a refused init left something"
echo "mount_user: ok"
