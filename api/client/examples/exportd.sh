# Signs requests with curl and openssl: vip by version 1, vip2 by version 2. URL, KEY and SECRET come from the
# environment. While openssl runs, who may list this machine's processes sees its arguments, the secret among them.

vip() { local d="$(date -u +%Y-%m-%dT%H:%M:%SZ)"; curl -sS -H "x-api-key: $KEY" -H "x-date: $d" \
  -H "x-signature: $(printf %s "$d" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -c1-64)" "$@"; }

# signature2 DATE NONCE METHOD HOST PATH QUERY BODYHASH
signature2() {
  local key pairs
  key="$(printf %s export-api/request-signing/v2 | openssl dgst -sha256 -hmac "$SECRET" -r | cut -c1-64)"
  pairs="$(printf %s "$6" | tr '&' '\n' | LC_ALL=C sort | paste -s -d '&' -)"
  printf 'EXPORT-HMAC-V2\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s' "$KEY" "$1" "$2" "$3" "$4" "$5" "$pairs" "$7" |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -r | cut -c1-64
}

# vip2 METHOD PATH-AND-QUERY [BODY [CURL-OPTION...]]
vip2() {
  local method="$1" target="$2" body="${3-}" query= date nonce hash host
  shift "$(($# < 3 ? $# : 3))"
  case "$target" in *\?*) query="${target#*\?}" ;; esac
  date="$(date -u +%Y-%m-%dT%H:%M:%S.000Z)" nonce="$(openssl rand -hex 16)"
  hash="$(printf %s "$body" | openssl dgst -sha256 -r | cut -c1-64)"
  host="${URL#*://}" host="$(printf %s "${host%%/*}" | tr A-Z a-z)"
  if [ -n "$body" ]; then set -- --data-binary "$body" -H 'content-type: application/json' "$@"; fi
  curl -sS -X "$method" -H "x-api-key: $KEY" -H "x-date: $date" -H "x-nonce: $nonce" -H "x-content-sha256: $hash" -H 'x-signature-version: 2' \
    -H "x-signature: $(signature2 "$date" "$nonce" "$method" "$host" "${target%%\?*}" "$query" "$hash")" "$@" "$URL$target"
}
