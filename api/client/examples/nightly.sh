#!/bin/sh
# Exports the messages of a day, yesterday's if DAY does not name another, to vip-messages-DAY.csv.
#
# For cron: it may be run again at any time. Signs by exportd.sh, which lies beside it.
#
#   15 2 * * *  cd /var/exports && sh /opt/nightly.sh
set -eu
. "$(dirname "$0")/exportd.sh"

day="${DAY:-$(date -u -d yesterday +%Y-%m-%d)}"
file="vip-messages-$day.csv"
[ ! -e "$file" ] || exit 0 # whole, as it only has its name when it is

answer="$(mktemp)"
trap 'rm -f "$answer"' EXIT
left=150 # times, of 25 s each: about an hour
while :; do
  status="$(vip -D "$answer.head" -o "$answer" -w '%{http_code}' -H 'Prefer: wait=25' \
    "$URL/vip-messages/export?workspaceId=$W&mediumId=$M&from=$day&to=$day")" || status=000
  job="$(sed -n 's|^content-location: /exports/\([a-z0-9]*\).*|\1|Ip' "$answer.head" 2>&-)" || job=
  rm -f "$answer.head"
  left=$((left - 1))
  case "$status" in
    200) break ;;
    202) ;;
    429 | 502 | 503 | 504 | 000) sleep 10 ;;
    *) echo "answer $status: $(cat "$answer")" >&2; exit 1 ;;
  esac
  [ "$left" -gt 0 ] || { echo "no file after all this time: $(cat "$answer")" >&2; exit 1; }
done

vip --fail -o "$answer" "$URL/exports/$job"
size="$(sed 's/.*"sizeBytes":\([0-9]*\).*/\1/' "$answer")" rows="$(sed 's/.*"totalCount":\([0-9]*\).*/\1/' "$answer")"
link="$(sed 's/.*"csvUrl":"\([^"]*\)".*/\1/' "$answer")"
curl -sS --fail -L --retry 5 -C - -o "$file.$job" "$link" # goes on where an earlier run stopped
[ "$(wc -c <"$file.$job")" -eq "$size" ] || { rm -f "$file.$job"; echo "the file has another size than $size" >&2; exit 1; }
mv "$file.$job" "$file"
echo "$file has $rows rows"
