#!/usr/bin/env bash
# Runs every check that needs no control plane, all of them even after one has failed, and says how long each took.
# What a check wrote is shown only when it failed. Tools are taken from PATH: `make check` puts .venv/bin there.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=()

run() { # run NAME COMMAND...: the remedy, where there is one, belongs into NAME
	local name=$1 started=$SECONDS
	shift
	if "$@" >"$output" 2>&1; then
		printf '  ok      %-58s %3ss\n' "$name" $((SECONDS - started))
	else
		printf '  FAILED  %-58s %3ss\n' "$name" $((SECONDS - started))
		sed 's/^/          /' "$output"
		failed+=("$name")
	fi
}

no_unfinished_marks() {
	! git grep -nE '\b(TODO|FIXME|XXX)\b' -- . ':!uv.lock' ':!*.sum' ':!tools/check.sh'
}

run "lock file is current (uv lock)" uv lock --check
run "format (make format)" ruff format --check
run "lint (make format mends some)" ruff check
run "types" mypy
run "layers" lint-imports
run "protocol and its generated code (make generate)" python tools/generate-protocol.py --check
run "generated CRDs (make generate)" python -m nodeset_provider.api.crd --check
run "no marks of unfinished work" no_unfinished_marks

if ((${#failed[@]})); then
	printf '%d of the checks failed\n' "${#failed[@]}" >&2
	exit 1
fi
