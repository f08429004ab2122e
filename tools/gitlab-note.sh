#!/usr/bin/env bash
# Put the file $1 into the one note of ours on a merge request, as GitLab CI runs it.
# ROLLOUT_TOKEN is a project access token with scope `api`; a job's own token may not write notes.
set -euo pipefail

file=$1
first=$(head -n 1 "$file") # the mark by which the note is found again
notes=$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes

ask() { # the token goes in by standard input, for arguments are seen by every process of the machine
  printf 'header = "PRIVATE-TOKEN: %s"\n' "$ROLLOUT_TOKEN" | curl --config - --fail --silent --show-error "$@"
}

id=$(ask "$notes?per_page=100&sort=asc" | python3 -c '
import json, sys
ids = [note["id"] for note in json.load(sys.stdin) if note["body"].startswith(sys.argv[1])]
print(ids[0] if ids else "")' "$first")

if [[ -n $id ]]; then
  ask --output /dev/null --request PUT --data-urlencode "body@$file" "$notes/$id"
else
  ask --output /dev/null --request POST --data-urlencode "body@$file" "$notes"
fi
