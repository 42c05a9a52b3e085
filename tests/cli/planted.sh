#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# planted: the crash tests can fail. Each patch in tests/planted puts one bug into the engine; the
# test that it names must find it (and finds nothing in the engine as it is: these tests run by
# themselves, with more). One file is compiled and one program linked for each.
# test-labels: once
# test-locks: none
set -euo pipefail

planted=$SRC/tests/planted
build=$(dirname "$BIN")
most_s=600 # a test that takes longer does not end
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

# The command that the build has for an output: its last one is the compiler's, or the linker's.
command_for()
{
	local line
	line=$(ninja -C "$build" -t commands "$1" | tail -n 1)
	[ -n "$line" ] || fail "the build has no $1"
	line=${line#": && "}
	printf '%s\n' "${line%" && :"}"
}

# plant NAME SOURCE TEST: the program TEST with the patched SOURCE in place of the engine's own.
# The object is named before the libraries, so the linker never asks the engine's for it.
plant()
{
	local object="CMakeFiles/stickvm_storage.dir/$2.o" line
	line=$(command_for "$object")
	line=${line//"$SRC/storage/"/"$work/$1/storage/"}
	line=${line//"$SRC/storage "/"$work/$1/storage "}
	line=${line//"$object"/"$work/$1.o"}
	(cd "$build" && eval "$line") || fail "$1: the patched $2 does not compile"
	line=$(command_for "bin/$3")
	line=${line/" -o bin/$3 "/" -o $work/$1/$3 $work/$1.o "}
	[[ $line == *"$work/$1.o"* ]] || fail "the linker's command is not understood: $line"
	(cd "$build" && eval "$line") || fail "$1: does not link"
}

one()
{
	local patch=$1 name source test start
	name=$(basename "$patch" .patch)
	source=$(sed -n 's,^+++ b/,,p' "$patch" | sort -u)
	[[ $source == storage/*.c ]] || fail "$name: not one file of storage/: $source"
	read -r -a test < <(sed -n 's/^# caught-by: //p' "$patch") || fail "$name: no caught-by"
	mkdir -p "$work/$name"
	cp -r "$SRC/storage" "$work/$name/storage"
	patch -s -F0 -p1 -d "$work/$name" <"$patch" ||
		fail "$name: the patch does not apply: renew it"
	plant "$name" "$source" "${test[0]}"
	start=$SECONDS
	if timeout $most_s "$work/$name/${test[0]}" "${test[@]:1}" >"$work/out" 2>&1; then
		fail "$name: not caught by ${test[*]}: $(tail -n 5 "$work/out")"
	elif [ $((SECONDS - start)) -ge $most_s ]; then
		fail "$name: ${test[*]} did not end"
	fi
	printf '%s: caught by %s in %d s\n' "$name" "${test[*]}" $((SECONDS - start))
	grep -hm 1 -e 'replay:' -e '^\[   LINE' -e Assertion "$work/out" || true
	rm -rf "${work:?}/$name"
}

[ -f "$build/build.ninja" ] || fail "$build was not made with ninja"
for patch in "$planted"/${1:-*}.patch; do
	one "$patch"
done
