#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tidy: each rule of tools/tidy catches a violation of it, and a tree without any passes.
# test-labels: once
# test-locks: none
set -euo pipefail

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
seeded=()

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

write()
{
	mkdir -p "$(dirname "$tree/$1")"
	{
		echo '/* SPDX-License-Identifier: GPL-2.0-or-later */'
		echo "/* $(basename "$1"): a file for this test. */"
		cat
	} >"$tree/$1"
}

clean_tree()
{
	rm -rf "${tree:?}"/*
	write include/stickvm/store.h <<<'int sv_store_x(void);'
	write storage/log.h <<<'int sv_log_x(void);'
	write storage/log.c <<<'#include "log.h"'
	write launcher/vm.c <<<'#include "stickvm/store.h"'
}

# seed RULE FILE: the content on standard input, below the two first lines, breaks RULE only.
seed()
{
	local out
	clean_tree
	write "$2"
	out=$("$SRC/tools/tidy" --root "$tree") && fail "$1: not caught"
	grep -q "^[^ ]*:[0-9]*: $1: " <<<"$out" || fail "$1: not named: $out"
	[ "$(wc -l <<<"$out")" = 2 ] || fail "$1: not alone: $out"
	seeded+=("$1")
}

clean_tree
"$SRC/tools/tidy" --root "$tree" >"$tree/out" || fail "a clean tree: $(cat "$tree/out")"
rm -rf "${tree:?}"/*
"$SRC/tools/tidy" --root "$tree" >/dev/null && fail "an empty tree passes"

long_function=$(printf 'int f(void)\n{\n'; printf '\t;\n%.0s' {1..71}; printf '}\n')
seed function-length storage/a.c <<<"$long_function"
seed file-length storage/a.c < <(printf '/* %s */\n' {1..799})
seed columns storage/a.c < <(printf '/*\t%093d */\n' 1)
seed blanks storage/a.c <<<'int f(void); '
seed banned-calls launcher/a.c <<<'int f(const char *s) { return atoi(s); }'
seed medium-calls storage/a.c <<<'int f(int fd) { return fsync(fd); }'
seed include-direction storage/a.c <<<'#include "../launcher/vm.h"'
seed include-direction launcher/a.c <<<'#include "../storage/log.h"'
seed include-direction storage/dev_a.c <<<'#include "log.h"'
seed printing storage/a.c <<<'void f(void) { puts("x"); }'
seed printing launcher/a.c <<<'void f(void) { fprintf(stderr, "x"); }'
seed ending storage/a.c <<<'void f(void) { exit(1); }'
seed globals storage/a.c <<<'static int count;'
seed globals launcher/a.c <<<'struct table tables[] = {'
seed header-alone storage/a.h <<<'uint32_t f(void);'
seed conditionals storage/a.c < <(printf '#if 1\n#endif\n%.0s' {1..5})

for line in 1 2; do
	clean_tree
	sed -i "${line}s,.*,/* no */," "$tree/storage/log.c"
	out=$("$SRC/tools/tidy" --root "$tree") && fail "purpose: not caught in line $line"
	grep -q 'storage/log.c:[12]: purpose: ' <<<"$out" || fail "purpose: not named: $out"
done
seeded+=(purpose)

# What only looks like a violation is let through.
clean_tree
write storage/a.c <<'END'
/* printf("x"); */
static const char text[] = "exit(1) atoi(x)";
static const int limits[] = {1};
void f(void) { my_exit(1); s->atoi(2); }
END
write launcher/cmd_a.c <<<'void f(void) { puts("x"); }'
write storage/a_process.c <<<'void f(void) { _exit(127); }'
write storage/dev_a.c <<<'int f(int fd) { return fsync(fd); }'
"$SRC/tools/tidy" --root "$tree" >"$tree/out" || fail "a false alarm: $(cat "$tree/out")"

diff <("$SRC/tools/tidy" --list | sort) <(printf '%s\n' "${seeded[@]}" | sort -u) ||
	fail "rules without a seeded violation (above)"
