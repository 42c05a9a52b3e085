#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_long: twenty pulls in a row while the guest writes and verifies, one of them for longer than
# a minute.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

guest_image
series ext4 virtio-blk 20 --cut drop=30,reorder
