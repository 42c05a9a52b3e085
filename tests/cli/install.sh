#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# install: what cmake --install lays down works: the program runs, a program links the library.
# test-labels: once
# test-locks: none
set -euo pipefail

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

cmake --install "$(dirname "$BIN")" --prefix "$tree" >"$tree/log" || fail "$(cat "$tree/log")"
"$tree/bin/stickvm" --version | grep -q '^stickvm [0-9]' || fail "the installed program"
"$tree/bin/stickvm" help | grep -q create || fail "the installed program's help"
for file in README.md CHANGELOG.md LICENSE; do
	cmp "$SRC/$file" "$tree/share/doc/stickvm/$file" || fail "$file"
done

# Every public header, and the library through pkg-config alone.
for header in "$SRC"/include/stickvm/*.h; do
	echo "#include <stickvm/$(basename "$header")>"
done >"$tree/use.c"
cat >>"$tree/use.c" <<'END'
#include <stdio.h>
int main(void)
{
	struct sv_dev *dev = NULL;

	return sv_place_open("/nonexistent", true, &dev) < 0 ? puts(sv_store_why()) < 0 : 1;
}
END
PKG_CONFIG_PATH=$(dirname "$(find "$tree" -name stickvm.pc)")
export PKG_CONFIG_PATH
read -ra flags < <(pkg-config --static --cflags --libs stickvm)
cc -o "$tree/use" "$tree/use.c" "${flags[@]}" || fail "does not link: ${flags[*]}"
"$tree/use" >/dev/null || fail "a program that uses the library"
