package apikey

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// The golden vector of the documentation.
func TestSignV2(t *testing.T) {
	t.Parallel()
	r := Request{Method: "POST", Host: "exports.example.com", Path: "/v1/jobs", Query: "limit=10&x=a%20b", Body: []byte(`{"a":1}`)}
	const want = "89cfafd2b895f4461ef66268c0ba755a58a094d0dcb5d4266d0fd90fbde2652c"
	if got := SignV2(goldenSecret, r, "key_1", goldenDate, "n0nce"); got != want {
		t.Errorf("SignV2(golden) = %s, want %s", got, want)
	}
	r.Query, r.Host = "x=a%20b&limit=10", "Exports.Example.COM"
	if got := SignV2(goldenSecret, r, "key_1", goldenDate, "n0nce"); got != want {
		t.Errorf("SignV2(reordered) = %s, want the same", got)
	}
}

// memoryNonces is a NonceFunc for one test.
func memoryNonces() NonceFunc {
	var mu sync.Mutex
	used := map[string]bool{}
	return func(_ context.Context, keyID, nonce string, _ time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		if used[keyID+nonce] {
			return ErrNonceUsed
		}
		used[keyID+nonce] = true
		return nil
	}
}

// signedV2 is a request that goldenKey signed, as the server sees it.
func signedV2(t testing.TB, method, target, body string) Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	SignRequest(r, "key_golden", goldenSecret, []byte(body), goldenTime)
	return RequestOf(r, []byte(body))
}

func TestVerifyV2(t *testing.T) {
	t.Parallel()
	v := Verifier{Window: DefaultWindow, Lookup: lookupOf(goldenKey()), Nonces: memoryNonces()}
	for _, tc := range []struct{ method, target, body string }{
		{"GET", "http://exports.example.com/workspaces", ""},
		{"GET", "http://exports.example.com:8080/vip-messages?workspaceId=a%20b&label=%E6%97%A5&a=1&a=0", ""},
		{"POST", "http://exports.example.com/ops/jobs/x%2Fy/cancel", `{"reason":"r"}`},
	} {
		r := signedV2(t, tc.method, tc.target, tc.body)
		k, err := v.Verify(t.Context(), r, goldenTime)
		if err != nil || k.ID != "key_golden" {
			t.Errorf("Verify(%s %s) = %v, %v", tc.method, tc.target, k, err)
		}
		if _, err := v.Verify(t.Context(), r, goldenTime); err == nil || err.Error() != "x-nonce was used before" {
			t.Errorf("Verify of the same request again = %v, want it refused", err)
		}
	}
}

// Whatever of a captured request is changed, the signature no longer holds.
func TestVerifyV2Binds(t *testing.T) {
	t.Parallel()
	const target, body = "http://exports.example.com/vip-users/export?workspaceId=w&mediumId=m", `{"reason":"r"}`
	wrong := textRefused
	for name, tc := range map[string]struct {
		change func(r *Request)
		want   string // "" is any refusal
	}{
		"method":            {func(r *Request) { r.Method = "DELETE" }, wrong},
		"host":              {func(r *Request) { r.Host = "other.example.com" }, wrong},
		"port":              {func(r *Request) { r.Host += ":8080" }, wrong},
		"path":              {func(r *Request) { r.Path = "/vip-messages/export" }, wrong},
		"path, escaped":     {func(r *Request) { r.Path = "/vip%2Dusers/export" }, wrong},
		"query value":       {func(r *Request) { r.Query = "workspaceId=w&mediumId=n" }, wrong},
		"query, one more":   {func(r *Request) { r.Query += "&callbackUrl=https://evil.example/" }, wrong},
		"query, one less":   {func(r *Request) { r.Query = "workspaceId=w" }, wrong},
		"query, cut":        {func(r *Request) { r.Query += "&" }, wrong},
		"body":              {func(r *Request) { r.Body = []byte(`{"reason":"x"}`) }, ""},
		"body and its sum":  {func(r *Request) { r.Body = []byte(`{}`); r.Header.Set(HeaderContent, contentSum(r.Body)) }, wrong},
		"nonce":             {func(r *Request) { r.Header.Set(HeaderNonce, strings.Repeat("n", 22)) }, wrong},
		"date":              {func(r *Request) { r.Header.Set(HeaderDate, "2026-01-02T03:04:06Z") }, wrong},
		"key":               {func(r *Request) { r.Header.Set(HeaderKey, "key_other") }, wrong},
		"downgrade":         {func(r *Request) { r.Header.Del(HeaderVersion) }, wrong},
		"downgrade to 1":    {func(r *Request) { r.Header.Set(HeaderVersion, "1") }, wrong},
		"v1 signature":      {func(r *Request) { r.Header.Set(HeaderSignature, Sign(goldenSecret, r.Header.Get(HeaderDate))) }, wrong},
		"version 3":         {func(r *Request) { r.Header.Set(HeaderVersion, "3") }, ""},
		"empty version":     {func(r *Request) { r.Header.Set(HeaderVersion, "") }, ""},
		"two versions":      {func(r *Request) { r.Header.Add(HeaderVersion, "2") }, ""},
		"two nonces":        {func(r *Request) { r.Header.Add(HeaderNonce, r.Header.Get(HeaderNonce)) }, ""},
		"no nonce":          {func(r *Request) { r.Header.Del(HeaderNonce) }, ""},
		"short nonce":       {func(r *Request) { r.Header.Set(HeaderNonce, strings.Repeat("n", 21)) }, ""},
		"long nonce":        {func(r *Request) { r.Header.Set(HeaderNonce, strings.Repeat("n", 65)) }, ""},
		"nonce with LF":     {func(r *Request) { r.Header.Set(HeaderNonce, strings.Repeat("n", 22)+"\nGET") }, ""},
		"no content sum":    {func(r *Request) { r.Header.Del(HeaderContent) }, ""},
		"upper content sum": {func(r *Request) { r.Header.Set(HeaderContent, strings.ToUpper(r.Header.Get(HeaderContent))) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noted := false
			v := Verifier{Window: DefaultWindow, Lookup: lookupOf(goldenKey()), Nonces: func(context.Context, string, string, time.Time) error {
				noted = true
				return nil
			}}
			r := signedV2(t, http.MethodPost, target, body)
			tc.change(&r)
			k, err := v.Verify(t.Context(), r, goldenTime)
			if _, ok := errors.AsType[*RefusedError](err); k != nil || !ok || tc.want != "" && err.Error() != tc.want {
				t.Errorf("Verify = %v, %v, want %q", k, err, tc.want)
			}
			if noted {
				t.Error("a stranger's nonce was stored")
			}
		})
	}
}

// A key that requires version 2 tells so to whoever has the secret, and nobody else.
func TestMinVersion(t *testing.T) {
	t.Parallel()
	k := goldenKey()
	k.MinVersion = 2
	v := Verifier{Window: DefaultWindow, Lookup: lookupOf(k), Nonces: memoryNonces()}
	if _, err := v.Verify(t.Context(), signedV2(t, "GET", "http://h/", ""), goldenTime); err != nil {
		t.Errorf("version 2 = %v", err)
	}
	_, err := v.Verify(t.Context(), Request{Header: headers("key_golden", goldenDate, goldenSignature)}, goldenTime)
	if err == nil || err.Error() != "this API key requires x-signature-version 2" {
		t.Errorf("version 1 = %v", err)
	}
	_, err = v.Verify(t.Context(), Request{Header: headers("key_golden", goldenDate, strings.Repeat("0", 64))}, goldenTime)
	if err == nil || err.Error() != textRefused {
		t.Errorf("version 1, wrong signature = %v", err)
	}
	v.Nonces = nil
	if _, err = v.Verify(t.Context(), signedV2(t, "GET", "http://h/", ""), goldenTime); err == nil {
		t.Error("version 2 without a store of nonces = nil")
	}
}

// A nonce is one-use over all processes, of which each has a Store.
func TestUseNonce(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	stores := []*Store{newStore(t, c, 0), newStore(t, c, 0)}
	const n = 8
	var mu sync.Mutex
	taken := 0
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			err := stores[i%2].UseNonce(t.Context(), "key_golden", strings.Repeat("n", 32), goldenTime)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken++
			} else if !errors.Is(err, ErrNonceUsed) {
				t.Errorf("UseNonce = %v", err)
			}
		})
	}
	callers.Wait()
	if taken != 1 {
		t.Errorf("%d of %d uses of a nonce were taken, want 1", taken, n)
	}
	if err := stores[0].UseNonce(t.Context(), "key_other", strings.Repeat("n", 32), goldenTime); err != nil {
		t.Errorf("another key's nonce = %v", err)
	}
	c.Stop(t)
	if err := stores[0].UseNonce(t.Context(), "key_golden", strings.Repeat("m", 32), goldenTime); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("UseNonce during an outage = %v, want ErrUnavailable", err)
	}
}

func FuzzVerifyV2(f *testing.F) {
	f.Add("POST", "/v1/jobs", "limit=10&x=a%20b", `{"a":1}`, strings.Repeat("n", 22), "2")
	f.Add("GET", "/", "", "", "n\nn", "1")
	f.Fuzz(func(t *testing.T, method, path, query, body, nonce, version string) {
		signed := Request{Method: "POST", Host: "h", Path: "/p", Query: "a=1", Body: []byte("b")}
		const goodNonce = "nnnnnnnnnnnnnnnnnnnnnnnn"
		r := Request{Header: headers("key_golden", goldenDate, SignV2(goldenSecret, signed, "key_golden", goldenDate, goodNonce)),
			Method: method, Host: "h", Path: path, Query: query, Body: []byte(body)}
		r.Header.Set(HeaderVersion, version)
		r.Header.Set(HeaderNonce, nonce)
		r.Header.Set(HeaderContent, contentSum(r.Body))
		v := Verifier{Window: DefaultWindow, Lookup: lookupOf(goldenKey()), Nonces: memoryNonces()}
		_, err := v.Verify(t.Context(), r, goldenTime)
		same := method == "POST" && path == "/p" && query == "a=1" && body == "b" && nonce == goodNonce && version == "2"
		if (err == nil) != same {
			t.Errorf("Verify(%q %q %q %q %q %q) = %v", method, path, query, body, nonce, version, err)
		}
	})
}
