package client

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"exportd/internal/apikey"
)

func TestSignIsTheServices(t *testing.T) {
	t.Parallel()
	const date = "2026-01-02T03:04:05.678Z"
	if got, want := Sign(testSecret, date), apikey.Sign(testSecret, date); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

// The vector was made by the service's own code.
func TestSign2(t *testing.T) {
	t.Parallel()
	body := `{"reason":"test"}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://API.test:8443/ops/jobs/x%2Fy/cancel?b=2&a=1%20", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", "key_test")
	r.Header.Set("X-Date", "2026-01-02T03:04:05.678Z")
	r.Header.Set("X-Nonce", "0123456789abcdefghijklmn")
	const want = "6fc3665da4f27f402faaabf18331b74e9d5e9bc2a9da948cd62110ceeb0fbd47"
	if got := sign2(r, []byte(body), testSecret); got != want {
		t.Errorf("sign2 = %s, want %s", got, want)
	}
}

// With version 2 each try has a nonce of its own, and its body is signed and sent.
func TestSignerVersion2(t *testing.T) {
	t.Parallel()
	var seen []*http.Request
	next := roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r)
		return answer(http.StatusAccepted, nil, "{}")(r)
	})
	c, err := New(Config{BaseURL: "https://api.test", Key: "key_test", Secret: testSecret, SignatureVersion: 2, Transport: next})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.CancelJobWithResponse(t.Context(), testJob, CancelJobJSONRequestBody{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range seen {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) == 0 {
			t.Errorf("body = %q, %v", body, err)
		}
		got := r.Header.Get("X-Signature")
		if want := sign2(r, body, testSecret); got != want || r.Header.Get("X-Signature-Version") != "2" {
			t.Errorf("signature = %s, want %s", got, want)
		}
	}
	if len(seen) != 2 || seen[0].Header.Get("X-Nonce") == seen[1].Header.Get("X-Nonce") {
		t.Error("two requests have the same nonce")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Sign2 is for the cases of all languages, which have vectors.
var Sign2 = sign2
