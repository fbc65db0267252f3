# Gives the key ROTATE a new secret, and prints it. KEY and SECRET are those of a key with the scope admin.
set -eu
. "$(dirname "$0")/exportd.sh"

answer="$(vip2 POST "/admin/keys/$ROTATE/rotate" '{"secret": "signing", "overlapSeconds": 86400, "reason": "yearly rotation"}')"
case "$answer" in *'"secret":"'*) ;; *) echo "$answer" >&2; exit 1 ;; esac
echo "the old secret works until $(printf %s "$answer" | sed 's/.*"oldSecretExpiresAt":"\([^"]*\)".*/\1/')" >&2
printf '%s\n' "$answer" | sed 's/.*"secret":"\([^"]*\)".*/\1/'
