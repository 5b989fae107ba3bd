#!/bin/sh
# Tells the Informatics Gateway who sends, who receives and under which AE title, then the Workflow Manager what to do.
#   ./register.sh PACS_AE_TITLE PACS_ADDRESS PACS_PORT
set -eu
GATEWAY=${GATEWAY:-http://localhost:5000}
WORKFLOWS=${WORKFLOWS:-http://localhost:5001}

[ $# -eq 3 ] || { echo "usage: $0 PACS_AE_TITLE PACS_ADDRESS PACS_PORT" >&2; exit 2; }
cd "$(dirname "$0")"

post() { # address, JSON or @file
  echo "$1"
  curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' --data "$2" "$1"
  echo
}

# The workflow knows the PACS by the name PACS.
post "$GATEWAY/config/source" "{\"name\": \"PACS\", \"aeTitle\": \"$1\", \"hostIp\": \"$2\"}"
post "$GATEWAY/config/destination" "{\"name\": \"PACS\", \"aeTitle\": \"$1\", \"hostIp\": \"$2\", \"port\": $3}"
post "$GATEWAY/config/ae" @ae-title.json
post "$WORKFLOWS/workflows" @workflow.json
