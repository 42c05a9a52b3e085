#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# methods: every test is in the table of tests/README.md, and every file that it names is there; a
# script that is run without SRC or BIN ends at once.
# test-labels: once
# test-locks: none
set -euo pipefail
shopt -s nullglob

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

cd "$SRC/tests"
mapfile -t words < <(grep '^|' README.md | grep -oE '`(unit|cli|fuzz|support)/[^` ]*`' | tr -d '`')
[ ${#words[@]} -ge 20 ] || fail "README.md has hardly a file in its table"
declare -A named
for word in "${words[@]}"; do
	eval "files=($word)" # braces and stars, as a shell has them
	[ ${#files[@]} -gt 0 ] || fail "README.md names $word, which does not exist"
	for file in "${files[@]}"; do
		[ -e "$file" ] || fail "README.md names $file, which does not exist"
		named[$file]=1
	done
done
for file in unit/*.c cli/*.sh fuzz/*.c; do
	[ -n "${named[$file]-}" ] || fail "the table of README.md does not name $file"
done

# Else its paths would begin at the root: `. "$SRC/..."` that fails does not end a script.
bare=$(grep -nE '^\. "?\$SRC' cli/* support/*) && fail "a script goes on without SRC: $bare"
for file in support/{cli.sh,wear.bash} cli/{run,fuse,yank,hosts}.bash; do
	for name in SRC BIN; do
		said=$(env -u $name bash -c '. "$0"; echo went on' "$file" 2>&1) || true
		[[ $said == *"$name: the "* ]] || fail "$file goes on without $name: $said"
	done
done
echo "methods: ${#named[@]} files"
