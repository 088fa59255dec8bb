#!/usr/bin/env bash
# The comment on a pull request, from the gate's JSON, by this checkout's own reports. The JSON was written by a run of the
# pull request's code: what is no result of the gate gives a comment that says no more than that.
set -euo pipefail
json=$1
comment=$2
if [ -f "$json" ] && [ ! -L "$json" ] && [ "$(stat -c %s "$json")" -le 5000000 ] &&
  python -m reports gate "$json" --markdown "$comment" > /dev/null; then
  exit 0
fi
printf '%s\n' '<!-- moe-router-gate -->' '## Router benchmarks: the gate has no result' '' 'Its log says why.' > "$comment"
