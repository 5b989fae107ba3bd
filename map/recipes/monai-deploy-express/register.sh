#!/bin/sh
# Tells the Informatics Gateway who sends, who receives and under which AE title, then the Workflow Manager what to do.
#   ./register.sh PACS_AE_TITLE PACS_ADDRESS PACS_PORT
set -eu
GATEWAY=${GATEWAY:-http://localhost:5000}
WORKFLOWS=${WORKFLOWS:-http://localhost:5001}

[ $# -eq 3 ] || { echo "usage: $0 PACS_AE_TITLE PACS_ADDRESS PACS_PORT" >&2; exit 2; }
cd "$(dirname "$0")"

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

post() { # address, JSON or @file
  status=$(curl --silent --show-error --output "$answer" --write-out '%{http_code}' \
    --header 'Content-Type: application/json' --data "$2" "$1")
  echo "$1: $status $(cat "$answer")"
  case $status in
    2??) ;;
    409) echo "$1: there already, and left as it is" >&2 ;;
    *) echo "$1: refused ($status)" >&2; exit 1 ;;
  esac
}

# The workflow knows the PACS by the name PACS.
post "$GATEWAY/config/source" "{\"name\": \"PACS\", \"aeTitle\": \"$1\", \"hostIp\": \"$2\"}"
post "$GATEWAY/config/destination" "{\"name\": \"PACS\", \"aeTitle\": \"$1\", \"hostIp\": \"$2\", \"port\": $3}"
post "$GATEWAY/config/ae" @ae-title.json
post "$WORKFLOWS/workflows" @workflow.json
