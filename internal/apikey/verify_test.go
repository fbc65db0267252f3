package apikey

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// The golden vector of the documentation.
const (
	goldenSecret    = "test-secret-0123456789abcdef"
	goldenDate      = "2026-01-02T03:04:05.678Z"
	goldenSignature = "87bafca278770c21a666606ff84ff94da2354abc691c3683905a3ec138e7e57d"
)

var goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

func goldenKey() *Key {
	return &Key{
		ID: "key_golden", OrgID: "org1", State: Active, Scopes: []Scope{ScopeRead},
		Secrets: []SigningSecret{{Secret: NewSecret(goldenSecret)}},
	}
}

func lookupOf(keys ...*Key) LookupFunc {
	return func(_ context.Context, id string) (*Key, error) {
		for _, k := range keys {
			if k.ID == id {
				return k, nil
			}
		}
		return nil, jobs.ErrNotFound
	}
}

func headers(key, date, signature string) http.Header {
	return http.Header{"X-Api-Key": {key}, "X-Date": {date}, "X-Signature": {signature}}
}

// verify judges a request of version 1, of which nothing but headers counts.
func verify(ctx context.Context, h http.Header, now time.Time, w Window, lookup LookupFunc) (*Key, error) {
	return Verifier{Window: w, Lookup: lookup}.Verify(ctx, Request{Header: h}, now)
}

func TestSign(t *testing.T) {
	t.Parallel()
	if got := Sign(goldenSecret, goldenDate); got != goldenSignature {
		t.Errorf("Sign(golden) = %s, want %s", got, goldenSignature)
	}
}

func TestVerifyWindow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		age  time.Duration
		want bool
	}{
		{0, true},
		{time.Minute, true},
		{time.Minute + time.Nanosecond, false},
		{time.Minute + time.Millisecond, false},
		{-5 * time.Second, true},
		{-5*time.Second - time.Nanosecond, false},
		{-5*time.Second - time.Millisecond, false},
		{24 * time.Hour, false},
	} {
		t.Run(tc.age.String(), func(t *testing.T) {
			t.Parallel()
			now := goldenTime.Add(tc.age)
			k, err := verify(t.Context(), headers("key_golden", goldenDate, goldenSignature), now, DefaultWindow, lookupOf(goldenKey()))
			if (err == nil) != tc.want {
				t.Fatalf("Verify at date + %s = %v, want accepted: %t", tc.age, err, tc.want)
			}
			if tc.want && k.ID != "key_golden" {
				t.Errorf("Verify = key %s, want key_golden", k.ID)
			}
		})
	}
}

func TestVerifyFarDates(t *testing.T) {
	t.Parallel()
	for _, years := range []int{-1000, -1, 1, 1000} { // beyond what a Duration can hold
		now := goldenTime.AddDate(years, 0, 0)
		if _, err := verify(t.Context(), headers("key_golden", goldenDate, goldenSignature), now, DefaultWindow, lookupOf(goldenKey())); err == nil {
			t.Errorf("Verify %d years off = nil", years)
		}
	}
}

func TestVerifyDates(t *testing.T) {
	t.Parallel()
	for date, want := range map[string]bool{
		"2026-01-02T03:04:05Z":              true,
		"2026-01-02T03:04:05.6Z":            true,
		"2026-01-02T03:04:05.678901234Z":    true,
		"2026-01-02T03:04:05.678901+00:00":  true, // Python
		"2026-01-02T05:04:05+02:00":         true,
		"2026-01-01T21:34:05-05:30":         true,
		"2026-01-02T03:04:05.6789012345Z":   false,
		"2026-01-02T03:04:05":               false,
		"2026-01-02T03:04Z":                 false,
		"2026-01-02":                        false,
		"2026-01-02T03:04:05,678Z":          false,
		"2026-01-02T3:04:05Z":               false,
		"2026-01-02t03:04:05z":              false,
		"2026-01-02 03:04:05Z":              false,
		"2026-01-02T03:04:60Z":              false,
		"2026-01-02T03:04:05+24:00":         false,
		"2026-01-02T03:04:05+0000":          false,
		"2026-02-30T03:04:05Z":              false,
		"20260102T030405Z":                  false,
		"1767323045":                        false,
		"":                                  false,
		" 2026-01-02T03:04:05Z":             false,
		"2026-01-02T03:04:05Z,2026":         false,
		"2026-01-02T03:04:05\u00a0Z":        false,
		"２026-01-02T03:04:05Z":              false,
		"Fri, 02 Jan 2026 03:04:05 GMT":     false,
		"2026-01-02T03:04:05Z\n":            false,
		"2026-01-02T03:04:05.Z":             false,
		"2026-01-02T03:04:05.678-00:00":     true,
		strings.Repeat("2", 30<<10):         false,
		"2026-01-02T03:04:05.000000000000Z": false,
	} {
		h := headers("key_golden", date, Sign(goldenSecret, date))
		_, err := verify(t.Context(), h, goldenTime, DefaultWindow, lookupOf(goldenKey()))
		if (err == nil) != want {
			t.Errorf("Verify(x-date %.50q) = %v, want accepted: %t", date, err, want)
		}
	}
}

// Nothing malformed may cost a look-up.
func TestVerifyForm(t *testing.T) {
	t.Parallel()
	good := func() http.Header { return headers("key_golden", goldenDate, goldenSignature) }
	cases := map[string]func(h http.Header){
		"no key":              func(h http.Header) { h.Del("X-Api-Key") },
		"no date":             func(h http.Header) { h.Del("X-Date") },
		"no signature":        func(h http.Header) { h.Del("X-Signature") },
		"two keys":            func(h http.Header) { h.Add("X-Api-Key", "key_golden") },
		"two dates":           func(h http.Header) { h.Add("X-Date", goldenDate) },
		"two signatures":      func(h http.Header) { h.Add("X-Signature", goldenSignature) },
		"upper-case hex":      func(h http.Header) { h.Set("X-Signature", strings.ToUpper(goldenSignature)) },
		"short signature":     func(h http.Header) { h.Set("X-Signature", goldenSignature[:62]) },
		"odd signature":       func(h http.Header) { h.Set("X-Signature", goldenSignature[:63]) },
		"long signature":      func(h http.Header) { h.Set("X-Signature", goldenSignature+"00") },
		"not hex":             func(h http.Header) { h.Set("X-Signature", "z"+goldenSignature[1:]) },
		"stale":               func(h http.Header) { h.Set("X-Date", "2020-01-01T00:00:00Z") },
		"joined dates":        func(h http.Header) { h.Set("X-Date", goldenDate+","+goldenDate) },
		"joined by obs-fold":  func(h http.Header) { h.Set("X-Date", goldenDate+" "+goldenDate) },
		"joined keys":         func(h http.Header) { h.Set("X-Api-Key", "key_golden,key_golden") },
		"signature with NBSP": func(h http.Header) { h.Set("X-Signature", goldenSignature+"\u00a0") },
	}
	for _, id := range []string{
		"", "short", "key_golden/sub/doc", "../key_golden", ".", "..", "__key_golden__", "__all__x__", "key golden", "key_golden\u2028",
		"ｋey_golden", "key_golden%2F", strings.Repeat("k", 65), strings.Repeat("k", 1500),
	} {
		cases[fmt.Sprintf("key %.20q", id)] = func(h http.Header) { h.Set("X-Api-Key", id) }
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := good()
			change(h)
			_, err := verify(t.Context(), h, goldenTime, DefaultWindow, func(context.Context, string) (*Key, error) {
				t.Error("looked up")
				return nil, jobs.ErrNotFound
			})
			if _, ok := errors.AsType[*RefusedError](err); !ok {
				t.Errorf("Verify = %v, want a RefusedError", err)
			}
		})
	}
}

// From the look-up on, every refusal is the same.
func TestVerifyKey(t *testing.T) {
	t.Parallel()
	with := func(change func(*Key)) LookupFunc {
		k := goldenKey()
		change(k)
		return lookupOf(k)
	}
	secret := func(s string, from, until time.Time) SigningSecret { return SigningSecret{NewSecret(s), from, until} }
	for name, tc := range map[string]struct {
		lookup LookupFunc
		signed string // secret; golden if empty
		want   bool
	}{
		"good":             {lookup: lookupOf(goldenKey()), want: true},
		"unknown":          {lookup: lookupOf()},
		"signed by dummy":  {lookup: lookupOf(), signed: dummySecret},
		"dummy, real key":  {lookup: lookupOf(goldenKey()), signed: dummySecret},
		"wrong secret":     {lookup: lookupOf(goldenKey()), signed: "another"},
		"disabled":         {lookup: with(func(k *Key) { k.State = Disabled })},
		"unknown state":    {lookup: with(func(k *Key) { k.State = "paused" })},
		"no state":         {lookup: with(func(k *Key) { k.State = "" })},
		"no org":           {lookup: with(func(k *Key) { k.OrgID = "" })},
		"org with a slash": {lookup: with(func(k *Key) { k.OrgID = "a/b" })},
		"no secret":        {lookup: with(func(k *Key) { k.Secrets = nil })},
		"empty secret":     {lookup: with(func(k *Key) { k.Secrets = []SigningSecret{{}} })},
		"expired now":      {lookup: with(func(k *Key) { k.ExpiresAt = goldenTime })},
		"expires soon":     {lookup: with(func(k *Key) { k.ExpiresAt = goldenTime.Add(1) }), want: true},
		"second secret": {lookup: with(func(k *Key) {
			k.Secrets = []SigningSecret{secret("new", time.Time{}, time.Time{}), secret(goldenSecret, time.Time{}, goldenTime.Add(1))}
		}), want: true},
		"second secret expired": {lookup: with(func(k *Key) {
			k.Secrets = []SigningSecret{secret("new", time.Time{}, time.Time{}), secret(goldenSecret, time.Time{}, goldenTime)}
		})},
		"secret of tomorrow": {lookup: with(func(k *Key) { k.Secrets = []SigningSecret{secret(goldenSecret, goldenTime.Add(1), time.Time{})} })},
		"third secret": {lookup: with(func(k *Key) {
			k.Secrets = []SigningSecret{secret("a", time.Time{}, time.Time{}), secret("b", time.Time{}, time.Time{}), secret(goldenSecret, time.Time{}, time.Time{})}
		})},
		"damaged record": {lookup: func(context.Context, string) (*Key, error) { return nil, fmt.Errorf("no orgId: %w", jobs.ErrInvalid) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signature := goldenSignature
			if tc.signed != "" {
				signature = Sign(tc.signed, goldenDate)
			}
			k, err := verify(t.Context(), headers("key_golden", goldenDate, signature), goldenTime, DefaultWindow, tc.lookup)
			switch {
			case tc.want && err != nil:
				t.Errorf("Verify = %v, want accepted", err)
			case !tc.want && (k != nil || err == nil || err.Error() != textRefused):
				t.Errorf("Verify = %v, %v, want nil, %q", k, err, textRefused)
			}
		})
	}
}

func TestVerifyUnavailable(t *testing.T) {
	t.Parallel()
	_, err := verify(t.Context(), headers("key_golden", goldenDate, goldenSignature), goldenTime, DefaultWindow,
		func(context.Context, string) (*Key, error) { return nil, jobs.ErrUnavailable })
	if _, refused := errors.AsType[*RefusedError](err); refused || !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("Verify = %v, want ErrUnavailable and no refusal", err)
	}
}

func TestSecretStaysSecret(t *testing.T) {
	t.Parallel()
	k := goldenKey()
	k.WebhookSecrets = []SigningSecret{{Secret: NewSecret("whsec_" + goldenSecret)}}
	out := fmt.Sprintf("%v %+v %#v %q %d %x", k, k, k, k.Secrets, k.Secrets[0].Secret, k.WebhookSecrets)
	body, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	out += string(body) + k.WebhookSecrets[0].Secret.LogValue().String() + k.WebhookSecrets[0].Secret.String()
	for _, bad := range []string{goldenSecret, hex.EncodeToString([]byte(goldenSecret))} {
		if strings.Contains(out, bad) {
			t.Errorf("output holds the secret as %q: %s", bad, out)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("key_golden", goldenDate, goldenSignature)
	f.Add("key_golden", "2026-01-02T03:04:05+24:00", goldenSignature)
	f.Add("__aaaaaa__", "2026-01-02T03:04:05,1Z", strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, key, date, signature string) {
		looked := false
		h := headers(key, date, signature)
		k, err := verify(t.Context(), h, goldenTime, DefaultWindow, func(_ context.Context, id string) (*Key, error) {
			looked = true
			if id != key || strings.ContainsAny(id, "/.%") {
				t.Errorf("looked up %q", id)
			}
			g := goldenKey()
			g.ID = id
			return g, nil
		})
		if (err == nil) != (k != nil) {
			t.Errorf("Verify = %v, %v", k, err)
		}
		if err == nil && (!looked || signature != Sign(goldenSecret, date)) {
			t.Errorf("accepted %q %q %q", key, date, signature)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := headers("key_golden", goldenDate, goldenSignature)
	for name, lookup := range map[string]LookupFunc{"known": lookupOf(goldenKey()), "unknown": lookupOf()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = verify(b.Context(), h, goldenTime, DefaultWindow, lookup)
			}
		})
	}
}

// TestInForce: nothing is sent in the name of a key that is disabled or gone; one that has expired was good
// when it asked.
func TestInForce(t *testing.T) {
	t.Parallel()
	expired, disabled := goldenKey(), goldenKey()
	expired.ID, expired.ExpiresAt = "key_expired", goldenTime.Add(-time.Hour)
	disabled.ID, disabled.State = "key_disabled", Disabled
	lookup := lookupOf(goldenKey(), expired, disabled)
	for id, want := range map[string]error{"key_golden": nil, "key_expired": nil, "key_disabled": jobs.ErrNotFound, "key_gone": jobs.ErrNotFound} {
		if k, err := lookup.InForce(t.Context(), id); !errors.Is(err, want) || (err == nil) != (k != nil) {
			t.Errorf("InForce(%s) = %v, %v, want %v", id, k, err, want)
		}
	}
}
