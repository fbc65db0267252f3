# Exports messages to messages.csv. The same GET again attaches to the same job, so it is repeated until it answers 200.
set -eu
. "$(dirname "$0")/exportd.sh"

status=202
while [ "$status" = 202 ]; do
  status="$(vip -H 'Prefer: wait=25' -o answer.json -w '%{http_code}' "$URL/vip-messages/export?workspaceId=$W&mediumId=$M&from=$FROM&to=$TO")"
done
[ "$status" = 200 ] || { cat answer.json >&2; exit 1; } # {"message": "..."}

curl -sS --fail -L -o messages.csv "$(sed 's/.*"csvUrl":"\([^"]*\)".*/\1/' answer.json)" # a plain GET, without headers of signing
echo "messages.csv has $(sed 's/.*"totalCount":\([0-9]*\).*/\1/' answer.json) rows"
