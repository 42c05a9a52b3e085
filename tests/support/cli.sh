# SPDX-License-Identifier: GPL-2.0-or-later
# cli.sh: for scripts that test the program: a work folder, what is undone at the end, expectations.
# shellcheck shell=bash
set -euo pipefail
# Without one of them the scripts' paths would begin at the root.
: "${SRC:?the source tree}" "${BIN:?the folder of the programs under test}"

vm="$BIN/stickvm"
work=$(mktemp -d /tmp/stickvm-cli.XXXXXX)
unset STICKVM_STICK
export XDG_STATE_HOME=$work/state # what this host remembers of sticks
export XDG_CACHE_HOME=$work/cache # what is kept on the host goes with the folder
undo=() # commands, run last to first

at_end() {
	undo+=("$*")
}

clean_up() {
	local i
	set +e
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
		eval "${undo[i]}" >/dev/null 2>&1
	done
	rm -rf "$work"
}
trap clean_up EXIT

die() {
	echo "FAILED: $*" >&2
	exit 1
}

# NODE: detaches a loop device if it is ours: its number may be another test's by now.
drop_loop() {
	case $(losetup -n -O BACK-FILE "$1" 2>/dev/null) in
	"$work"/*) losetup -d "$1" ;;
	esac
}

# STATUS PATTERN COMMAND...: the command ends with this status, and with exactly one line on
# standard error, "stickvm VERB: ..." that matches the pattern. Its output is in $work/out.
refused() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	[ "$status" = "$want" ] || die "$*: status $status, not $want: $(cat "$work/err")"
	[ "$(wc -l <"$work/err")" = 1 ] || die "$*: not one line: $(cat "$work/err")"
	grep -Eq '^stickvm( [a-z]+)?: .' "$work/err" || die "$*: form: $(cat "$work/err")"
	grep -Eq -- "$pattern" "$work/err" || die "$*: no '$pattern' in: $(cat "$work/err")"
}

# COMMAND...: it succeeds without a word on standard error. Its output is in $work/out.
works() {
	"$@" >"$work/out" 2>"$work/err" </dev/null || die "$*: status $?: $(cat "$work/err")"
	[ ! -s "$work/err" ] || die "$*: it said: $(cat "$work/err")"
}

# PATTERN: a line of the last output matches.
says() {
	grep -Eq -- "$1" "$work/out" || die "no '$1' in: $(cat "$work/out")"
}

# FILTER WANT: what Python makes of the last output, as JSON in `j`.
json() {
	local got
	got=$(python3 -c "import json,sys; j=json.load(open(sys.argv[1])); print($1)" \
		"$work/out") ||
		die "not JSON: $(cat "$work/out")"
	[ "$got" = "$2" ] || die "$1 is '$got', not '$2'"
}

# DIR: a digest of every name, content and kind below it, for "nothing was changed".
tree_of() {
	(cd "$1" && find . -printf '%y %p %s\n' | sort && find . -type f -print0 | sort -z |
		xargs -0r b2sum) | b2sum
}
