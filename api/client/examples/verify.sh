# Verifies a callback by hand: WEBHOOK_SECRET=whsec_... sh verify.sh ID TIMESTAMP SIGNATURES <BODY
#
# ID, TIMESTAMP and SIGNATURES are the headers webhook-id, webhook-timestamp and webhook-signature, BODY is the
# body as it came, byte for byte. For looking into one; a receiver also refuses what is older than 5 minutes.
set -eu
key="$(printf %s "${WEBHOOK_SECRET#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \n')"
want="v1,$({ printf '%s.%s.' "$1" "$2"; cat; } | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)"
for signature in $3; do
  if [ "$signature" = "$want" ]; then echo verified; exit 0; fi
done
echo "no signature matches: $want was expected" >&2
exit 1
