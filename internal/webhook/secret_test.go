package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const goldenSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func mustSecret(tb testing.TB, s string) Secret {
	tb.Helper()
	secret, err := ParseSecret(s)
	if err != nil {
		tb.Fatal(err)
	}
	return secret
}

func TestSignGolden(t *testing.T) {
	t.Parallel()
	body := []byte(`{"jobId":"job_1","status":"completed","totalCount":3,"csvUrl":"https://x.example/e/1"}`)
	got, err := Sign("msg_job_1", time.Unix(1767323045, 999_000_000), body, mustSecret(t, goldenSecret))
	if want := "v1,7tw0h+zD+91l0v0rBgJ/zBW/Yintfl+Zpz2v0hFq0K8="; err != nil || got != want {
		t.Errorf("Sign = %q, %v, want %q", got, err, want)
	}
}

// TestSignVerifies asks the library of Standard Webhooks, an implementation of its own, for each of two
// secrets in rotation.
func TestSignVerifies(t *testing.T) {
	t.Parallel()
	current, previous, other := randomSecret(), randomSecret(), randomSecret()
	body := []byte(`{"type":"export.succeeded"}`)
	now := time.Now()
	signature, err := Sign("msg_1_succeeded", now, body, current, previous)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	header.Set(HeaderID, "msg_1_succeeded")
	header.Set(HeaderTimestamp, fmt.Sprint(now.Unix()))
	header.Set(HeaderSignature, signature)
	for name, tt := range map[string]struct {
		secret Secret
		body   []byte
		ok     bool
	}{
		"current":  {current, body, true},
		"previous": {previous, body, true},
		"other":    {other, body, false},
		"tampered": {current, append(bytes.Clone(body), ' '), false},
	} {
		verifier, err := standardwebhooks.NewWebhook(tt.secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(tt.body, header); (err == nil) != tt.ok {
			t.Errorf("%s: Verify = %v, want ok %v", name, err, tt.ok)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	s := randomSecret()
	for _, id := range []string{"", "msg.1", "msg 1", "msg_1\n", "mßg", strings.Repeat("a", 129)} {
		if _, err := Sign(id, time.Now(), nil, s); !errors.Is(err, ErrMessageID) {
			t.Errorf("Sign(%q) = %v, want ErrMessageID", id, err)
		}
	}
	for _, secrets := range [][]Secret{nil, {{}}, {s, {}}, {s, s, s}} {
		if _, err := Sign("msg_1", time.Now(), nil, secrets...); !errors.Is(err, ErrNoSecret) {
			t.Errorf("Sign with %d secrets = %v, want ErrNoSecret", len(secrets), err)
		}
	}
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	encode := func(n int) string {
		return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n))
	}
	for _, bad := range []string{
		"", "whsec_", goldenSecret[6:], "whsk_" + goldenSecret[6:], encode(23), encode(65), goldenSecret + "=", strings.TrimRight(goldenSecret, "="),
		goldenSecret + "\n", "WHSEC_" + goldenSecret[6:],
	} {
		if _, err := ParseSecret(bad); !errors.Is(err, ErrSecret) {
			t.Errorf("ParseSecret(%q) = %v, want ErrSecret", bad, err)
		}
	}
	for _, good := range []string{encode(24), encode(64), goldenSecret} {
		if got := mustSecret(t, good).Reveal(); got != good {
			t.Errorf("Reveal = %q, want %q", got, good)
		}
	}
}

// TestDeriveSecret pins the derivation: customers without a webhook secret compute it themselves. The value
// was computed with Python's hmac from RFC 5869, not with this package.
func TestDeriveSecret(t *testing.T) {
	t.Parallel()
	got, err := DeriveSecret("test-secret-0123456789abcdef")
	if want := "whsec_D7XHCA4wDVz4hvVFpwMkVav1l3hAZhQ0ILOaalXWlLk="; err != nil || got.Reveal() != want {
		t.Errorf("DeriveSecret = %q, %v, want %q", got.Reveal(), err, want)
	}
	if _, err := DeriveSecret(""); !errors.Is(err, ErrNoSecret) {
		t.Errorf("DeriveSecret of nothing = %v, want ErrNoSecret", err)
	}
}

func TestSecretIsRedacted(t *testing.T) {
	t.Parallel()
	secret := mustSecret(t, goldenSecret)
	type holder struct{ secret Secret }
	delivery := Delivery{Secrets: []Secret{secret}}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, format+"\n", secret)
		fmt.Fprintf(&out, format+"\n", &secret)
		fmt.Fprintf(&out, format+"\n", holder{secret})
		fmt.Fprintf(&out, format+"\n", delivery)
	}
	if err := json.NewEncoder(&out).Encode(delivery); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "delivery", delivery)
	_, err := Sign("bad id", time.Now(), nil, secret)
	fmt.Fprintln(&out, err)
	key := *secret.key
	for _, leak := range []string{key, goldenSecret[6:], fmt.Sprintf("%x", key), fmt.Sprintf("%q", key), fmt.Sprintf("%d", []byte(key))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds the secret as %q:\n%s", leak, out.String())
		}
	}
}
