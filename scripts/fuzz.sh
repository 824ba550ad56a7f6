#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (30s), two at a time. With more targets
# than FUZZTOTAL seconds (720) have room for, each gets less. FUZZJSON=1 prints
# what go test -json does.
set -uo pipefail
cd "$(dirname "$0")/.."

mapfile -t targets < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal |
	sed -E 's|^(.*)/[^/]+:[0-9]+:func (Fuzz.*)$|./\1 \2|' | sort -u)
if [ ${#targets[@]} = 0 ]; then
	echo 'fuzz: no targets' >&2
	exit 1
fi

seconds=${FUZZTIME:-30s}
seconds=${seconds%s}
room=$((${FUZZTOTAL:-720} * 2 / ${#targets[@]}))
if [ "$seconds" -gt "$room" ]; then seconds=$room; fi
echo "fuzz: ${#targets[@]} targets for ${seconds}s each, two at a time" >&2

mkdir -p .cache
printf '%s\n' "${targets[@]}" | xargs -P 2 -L 1 bash -c '
	# A worker that is busy when the time is up makes go test fail with "context
	# deadline exceeded" and without a finding: once more.
	for try in 1 2 3; do
		out=$(go test ${FUZZJSON:+-json} -run "^$" -fuzz "^$1\$" -fuzztime "'"$seconds"'s" -fuzzminimizetime 5x -parallel 1 "$0" 2>&1)
		code=$?
		if [ $code = 0 ] || grep -q "Failing input written" <<<"$out" || ! grep -q "context deadline exceeded" <<<"$out"; then break; fi
	done
	exec 9>>.cache/fuzz.lock && flock 9 # whole outputs, one behind the other
	printf "%s\n" "$out"
	exit $code'
