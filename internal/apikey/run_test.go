package apikey

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/api/option"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// run runs a store until the test ends.
func run(t *testing.T, s *Store) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// eventually polls what another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(25 * time.Second) // less than the TTL, which would bring it about too
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(what)
		}
	}
}

// With Run, a change is seen long before the TTL ends, also one made by another process.
func TestRunFollowsChanges(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	here, there := newStore(t, c, 30*time.Second, watching(t, c)), newStore(t, c, 30*time.Second)
	run(t, here)
	k, err := there.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, by)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new key is not seen", func() bool {
		got, err := here.Lookup(t.Context(), k.ID)
		if err != nil {
			return false
		}
		here.Prove(got) // as a request that it signed would
		return true
	})
	start := time.Now()
	if err := there.SetState(t.Context(), k.ID, Disabled, by); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked key is still believed", func() bool {
		got, err := here.Lookup(t.Context(), k.ID)
		return err == nil && got.State == Disabled && here.Known(k.ID) == nil
	})
	t.Logf("revoked after %s, TTL 30 s", time.Since(start))
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	var days atomic.Int64
	now := func() time.Time { return goldenTime.Add(time.Duration(days.Load()) * 24 * time.Hour) }
	s := newStore(t, c, time.Millisecond, func(c *StoreConfig) { c.Now = now })
	run(t, s)
	put(t, c, "key_golden", map[string]any{"orgId": "org1", "secret": goldenSecret})
	lastUsed := func() time.Time {
		k, err := s.Lookup(t.Context(), "key_golden")
		if err != nil {
			t.Fatal(err)
		}
		return k.LastUsedAt
	}
	version := func() time.Time {
		doc, err := s.doc("key_golden").Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return doc.UpdateTime
	}
	use := func() { s.Used(&Key{ID: "key_golden", LastUsedAt: lastUsed()}) }
	use()
	eventually(t, "the first use is not noted", func() bool { return lastUsed().Equal(goldenTime) })
	before := version()
	for range 3 * usedQueue { // within the day, and by a process that has not seen it
		s.Used(&Key{ID: "key_golden"})
	}
	if err := s.noteUse(t.Context(), "key_golden", now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "uses are left", func() bool { return len(s.used) == 0 })
	if !version().Equal(before) {
		t.Error("a use within the day was written")
	}
	days.Store(1)
	use()
	eventually(t, "a use after a day is not noted", func() bool { return lastUsed().Equal(now()) })
}

func TestSweep(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Now = func() time.Time { return goldenTime } })
	for i, until := range []time.Duration{-time.Hour, -time.Microsecond, 0, time.Minute} {
		if err := s.UseNonce(t.Context(), "key_golden", strings.Repeat("n", 22+i), goldenTime.Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.sweep(t.Context()); n != 2 {
		t.Errorf("sweep = %d, want the 2 that have expired", n)
	}
	if err := s.UseNonce(t.Context(), "key_golden", strings.Repeat("n", 24), goldenTime); !errors.Is(err, ErrNonceUsed) {
		t.Errorf("a nonce that has not expired = %v, want ErrNonceUsed", err)
	}
	if n := s.sweep(t.Context()); n != 0 {
		t.Errorf("second sweep = %d", n)
	}
}

func TestIPRanges(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.0/24", "203.0.113.7": "203.0.113.7/32", "2001:db8::/32": "2001:db8::/32", "::1": "::1/128", "0.0.0.0/0": "0.0.0.0/0",
		"203.0.113.1/24": "", "::ffff:203.0.113.0/120": "", "203.0.113.0/33": "", "fe80::1%lo": "", "": "", "all": "", "10.0.0.0-10.0.0.9": "",
	} {
		p, err := ParseIPRange(text)
		if got := p.String(); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("ParseIPRange(%q) = %s, %v, want %q", text, got, err, want)
		}
	}
	k := &Key{IPRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	for addr, want := range map[string]bool{"203.0.113.255": true, "203.0.114.0": false, "::ffff:203.0.113.1": true, "2001:db8::1": false} {
		if got := k.AllowsAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("AllowsAddr(%s) = %t", addr, got)
		}
	}
	if k.AllowsAddr(netip.Addr{}) || !(&Key{}).AllowsAddr(netip.Addr{}) {
		t.Error("an unknown address is in no range, and allowed where there is none")
	}
}

// Records that say something senseless about who may use the key open nothing.
func TestDecodeFailsClosed(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0)
	put(t, c, "key_ranges", map[string]any{"orgId": "org1", "secret": goldenSecret, "ipRanges": []string{"everywhere"}})
	put(t, c, "key_version", map[string]any{"orgId": "org1", "secret": goldenSecret, "minSignatureVersion": 3})
	for _, id := range []string{"key_ranges", "key_version"} {
		if _, err := s.Lookup(t.Context(), id); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("Lookup(%s) = %v, want ErrInvalid", id, err)
		}
	}
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", MinVersion: 2, IPRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, by)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lookup(t.Context(), k.ID); err != nil || got.MinVersion != 2 || len(got.IPRanges) != 1 {
		t.Errorf("Lookup = %+v, %v", got, err)
	}
}

const testKMSKey = "projects/p/locations/l/keyRings/r/cryptoKeys/k"

// kms is a Cloud KMS for one test: its "encryption" puts a mark in front.
type kms struct {
	*httptest.Server
	mark    string
	calls   atomic.Int64
	corrupt atomic.Bool
}

func newKMS(t *testing.T) *kms {
	t.Helper()
	k := &kms{mark: "sealed:"}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.calls.Add(1)
		var req struct{ Plaintext, Ciphertext string }
		_ = json.NewDecoder(r.Body).Decode(&req)
		answer := map[string]any{"verifiedPlaintextCrc32c": true, "verifiedCiphertextCrc32c": true}
		put := func(name string, data []byte) {
			answer[name+"Crc32c"] = strconv.FormatInt(sum(data), 10) // as JSON of Google has it
			if k.corrupt.Load() {
				data[0] ^= 1
			}
			answer[name] = base64.StdEncoding.EncodeToString(data)
		}
		switch r.URL.Path {
		case "/v1/" + testKMSKey + ":encrypt":
			plain, _ := base64.StdEncoding.DecodeString(req.Plaintext)
			put("ciphertext", append([]byte(k.mark), plain...))
		case "/v1/" + testKMSKey + ":decrypt":
			sealed, _ := base64.StdEncoding.DecodeString(req.Ciphertext)
			plain, ok := strings.CutPrefix(string(sealed), k.mark)
			if !ok {
				http.Error(w, "no", http.StatusBadRequest)
				return
			}
			put("plaintext", []byte(plain))
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(k.Close)
	return k
}

// The keyset is made once, opened by KMS once for each process, and useless without it.
func TestKMSKeyset(t *testing.T) {
	t.Parallel()
	k := newKMS(t)
	cfg := KeysetConfig{Path: filepath.Join(t.TempDir(), "keyset.json"), KMSKey: testKMSKey,
		Options: []option.ClientOption{option.WithEndpoint(k.URL), option.WithHTTPClient(k.Client())}}
	if _, err := OpenSealer(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenSealer without a file = %v, want ErrNotExist", err)
	}
	cfg.Make = true
	first, err := OpenSealer(t.Context(), cfg)
	if err != nil {
		t.Fatalf("OpenSealer = %v", err)
	}
	cfg.Make = false
	second, err := OpenSealer(t.Context(), cfg)
	if err != nil {
		t.Fatalf("OpenSealer again = %v", err)
	}
	calls := k.calls.Load()
	sealed, err := first.seal("key_golden", "s", NewSecret(goldenSecret))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.open("key_golden", "s", sealed); err != nil || got.Reveal() != goldenSecret {
		t.Errorf("open by another process = %v", err)
	}
	if k.calls.Load() != calls {
		t.Error("sealing and opening a secret asked KMS")
	}
	clear := cfg
	clear.KMSKey = ""
	if _, err := OpenSealer(t.Context(), clear); err == nil {
		t.Error("the keyset opens without KMS")
	}
	k.corrupt.Store(true)
	if _, err := OpenSealer(t.Context(), cfg); err == nil {
		t.Error("a corrupted answer of KMS was taken")
	}
}

// TestKeysetMoves: a keyset whose encryptedKeyset was decrypted by one KMS key and encrypted by another opens
// by that other, and opens what it has sealed (deployments/operations/move.md).
func TestKeysetMoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, after := newKMS(t), newKMS(t)
	after.mark = "moved:"
	config := func(k *kms, name string) KeysetConfig {
		return KeysetConfig{Path: filepath.Join(dir, name), KMSKey: testKMSKey, Options: []option.ClientOption{option.WithEndpoint(k.URL), option.WithHTTPClient(k.Client())}}
	}
	made := config(before, "keyset.json")
	made.Make = true
	first, err := OpenSealer(t.Context(), made)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := first.seal("key_golden", "s", NewSecret(goldenSecret))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	var wrapped []byte
	if err := errors.Join(json.Unmarshal(raw, &file), json.Unmarshal(file["encryptedKeyset"], &wrapped)); err != nil {
		t.Fatal(err)
	}
	clear, ok := bytes.CutPrefix(wrapped, []byte(before.mark)) // gcloud kms decrypt
	if !ok {
		t.Fatalf("encryptedKeyset is not what KMS gave: %q", wrapped)
	}
	if file["encryptedKeyset"], err = json.Marshal(append([]byte(after.mark), clear...)); err != nil { // gcloud kms encrypt
		t.Fatal(err)
	}
	moved := config(after, "keyset.new.json")
	if raw, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(moved.Path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := OpenSealer(t.Context(), moved)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.open("key_golden", "s", sealed); err != nil || got.Reveal() != goldenSecret {
		t.Errorf("after the move: %v", err)
	}
	if _, err := OpenSealer(t.Context(), config(after, "keyset.json")); err == nil {
		t.Error("the new key opens the old file")
	}
}

func TestOpenSealerClear(t *testing.T) {
	t.Parallel()
	cfg := KeysetConfig{Path: filepath.Join(t.TempDir(), "keyset.json")}
	if _, err := OpenSealer(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenSealer without a file = %v, want ErrNotExist", err)
	}
	cfg.Make = true
	if _, err := OpenSealer(t.Context(), cfg); err != nil {
		t.Errorf("OpenSealer = %v", err)
	}
	if info, err := os.Stat(cfg.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("keyset file = %v, %v, want mode 0600", info, err)
	}
}
