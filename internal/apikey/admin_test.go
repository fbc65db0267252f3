package apikey

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

func newSealer(t *testing.T) *Sealer {
	t.Helper()
	h, err := FileKeyset(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatalf("FileKeyset = %v", err)
	}
	s, err := NewSealer(h)
	if err != nil {
		t.Fatalf("NewSealer = %v", err)
	}
	return s
}

// stored is a key's record as text.
func stored(t *testing.T, c *localcloudtest.Cloud, id string) string {
	t.Helper()
	doc, err := c.Firestore.Collection(Collection).Doc(id).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q", doc.Data())
}

// by is who changes keys in these tests.
var by = By{Actor: "api key key_admin", Reason: "a test"}

// webhookOf gives the webhook secrets of a key that hold at goldenTime, the newest first.
func webhookOf(k *Key) string {
	own, _ := k.CallbackSecrets(goldenTime)
	return strings.Join(own, " ")
}

// signs reports whether secret signs for key id at now.
func signs(t *testing.T, s *Store, id string, secret Secret, now time.Time) bool {
	t.Helper()
	date := now.Format(time.RFC3339)
	_, err := verify(t.Context(), headers(id, date, Sign(secret.Reveal(), date)), now, DefaultWindow, s.Lookup)
	if _, refused := errors.AsType[*RefusedError](err); err != nil && !refused {
		t.Fatalf("Verify = %v", err)
	}
	return err == nil
}

// A secret given out once: create, rotate with overlap, rotate without, disable; with and without a keyset.
func TestKeyLife(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	for name, sealer := range map[string]*Sealer{"sealed": newSealer(t), "plain": nil} {
		t.Run(name, func(t *testing.T) {
			now := goldenTime
			s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer, c.Now = sealer, func() time.Time { return now } })
			budget := jobs.Budget{Rows: 5000, Reads: 1 << 40}
			k, err := s.Create(t.Context(), Draft{OrgID: "org1", Name: "n", Scopes: []Scope{ScopeRead}, CallbackHosts: []string{"a.example"}, Budget: budget}, by)
			if err != nil {
				t.Fatalf("Create = %v", err)
			}
			first := k.Secrets[0].Secret
			if len(first.Reveal()) != 64 || !signs(t, s, k.ID, first, now) {
				t.Fatal("the secret of a new key does not sign")
			}
			got, err := s.Lookup(t.Context(), k.ID)
			if err != nil || webhookOf(got) != webhookOf(k) || !got.Has(ScopeRead) || got.Has(ScopeExport) || !got.CreatedAt.Equal(now) {
				t.Errorf("Lookup = %+v, %v", got, err)
			}
			second, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests, Overlap: time.Hour}, by)
			if err != nil {
				t.Fatalf("Rotate = %v", err)
			}
			if !signs(t, s, k.ID, first, now.Add(time.Hour-time.Second)) || !signs(t, s, k.ID, second, now) {
				t.Error("both secrets must sign during the overlap")
			}
			if signs(t, s, k.ID, first, now.Add(time.Hour)) {
				t.Error("the old secret signs after the overlap")
			}
			third, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests, Overlap: 24 * time.Hour}, by)
			if err != nil {
				t.Fatalf("Rotate = %v", err)
			}
			if rotated, err := s.Lookup(t.Context(), k.ID); err != nil || rotated.Budget != budget || got.Budget != budget {
				t.Errorf("the budget is %+v, rotated %+v, %v", got.Budget, rotated, err)
			}
			none, few := int64(0), int64(7)
			if set, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &none}, by); err != nil || set != (jobs.Budget{Reads: 1 << 40}) {
				t.Errorf("a budget without a limit of rows is %+v, %v", set, err)
			}
			set, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &few, Reads: &none}, by)
			if again, lerr := s.Lookup(t.Context(), k.ID); err != nil || lerr != nil || set != (jobs.Budget{Rows: 7}) || again.Budget != set {
				t.Errorf("the budget is %+v, looked up %+v, %v, %v", set, again, err, lerr)
			}
			if _, history, err := s.Get(t.Context(), "org1", k.ID); err != nil || history[len(history)-1] != (AuditEntry{now, ActionBudget, by.Actor, by.Reason, "rowsPerDay 7, was without limit; readsPerDay without limit, was 1099511627776"}) {
				t.Errorf("the history is %+v, %v", history, err)
			}
			if set, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &few, Reads: &few}, by); err != nil || set != (jobs.Budget{Rows: 7, Reads: 7}) {
				t.Errorf("a budget of which one limit changes is %+v, %v", set, err)
			}
			if _, history, err := s.Get(t.Context(), "org1", k.ID); err != nil || history[len(history)-1].Detail != "readsPerDay 7, was without limit" {
				t.Errorf("of what stays the history says %+v, %v", history, err)
			}
			before := jobs.Budget{Rows: 7}
			if _, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &none, Seen: &before}, by); !errors.Is(err, ErrBudgetChanged) {
				t.Errorf("a change of a budget that was changed meanwhile = %v", err)
			}
			before.Reads = 7
			for _, why := range []string{"as it was seen", "again, after an answer that was lost"} {
				if set, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &none, Seen: &before}, by); err != nil || set != (jobs.Budget{Reads: 7}) {
					t.Errorf("a change of a budget, %s, is %+v, %v", why, set, err)
				}
			}
			if signs(t, s, k.ID, first, now) || !signs(t, s, k.ID, second, now) || !signs(t, s, k.ID, third, now) {
				t.Error("of three secrets the last two sign")
			}
			fourth, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests, Overlap: 0}, by)
			if err != nil || signs(t, s, k.ID, third, now) || !signs(t, s, k.ID, fourth, now) {
				t.Errorf("Rotate without overlap = %v; only the new secret signs", err)
			}
			record := stored(t, c, k.ID)
			for _, secret := range []Secret{fourth, k.WebhookSecrets[0].Secret} {
				if strings.Contains(record, secret.Reveal()) == (sealer != nil) {
					t.Errorf("record holds a secret in clear: %t", sealer == nil)
				}
			}
			if err := s.SetState(t.Context(), k.ID, Disabled, by); err != nil || signs(t, s, k.ID, fourth, now) {
				t.Errorf("SetState(disabled) = %v, and the key does not sign", err)
			}
			if _, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &few}, by); !errors.Is(err, ErrDisabled) {
				t.Errorf("SetBudget of a disabled key = %v, want ErrDisabled", err)
			}
			if _, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests, Overlap: 0}, by); !errors.Is(err, ErrDisabled) {
				t.Errorf("Rotate of a disabled key = %v, want ErrDisabled", err)
			}
		})
	}
}

// Records made by hand are sealed when they are first used, and go on working.
func TestPlainIsSealedAtFirstUse(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	sealer := newSealer(t)
	put(t, c, "key_golden", map[string]any{"orgId": "org1", "secret": goldenSecret, "webhookSecret": "whsec_plain", "note": "kept", "expiresAt": goldenTime.Add(time.Hour)})
	var users sync.WaitGroup
	for range 8 { // each a process of its own
		users.Go(func() {
			s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer = sealer })
			if !signs(t, s, "key_golden", NewSecret(goldenSecret), goldenTime) {
				t.Error("a plain key does not sign")
			}
		})
	}
	users.Wait()
	record := stored(t, c, "key_golden")
	if strings.Contains(record, goldenSecret) || strings.Contains(record, "whsec_plain") || !strings.Contains(record, "kept") {
		t.Errorf("record = %s, want no secret in clear and the rest as it was", record)
	}
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer = sealer })
	if !signs(t, s, "key_golden", NewSecret(goldenSecret), goldenTime) {
		t.Error("the sealed key does not sign")
	}
	if k, err := s.Lookup(t.Context(), "key_golden"); err != nil || webhookOf(k) != "whsec_plain" || k.ExpiresAt.IsZero() || len(k.Secrets) != 1 {
		t.Errorf("Lookup = %+v, %v", k, err)
	}
	// Without the keyset, or with another, the record is of no use.
	for name, other := range map[string]*Sealer{"none": nil, "another": newSealer(t)} {
		s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer = other })
		if _, err := s.Lookup(t.Context(), "key_golden"); !errors.Is(err, ErrKeyset) {
			t.Errorf("Lookup with keyset %s = %v, want ErrKeyset", name, err)
		}
	}
}

// A ciphertext works in the record that it was made for, nowhere else.
func TestSealedStaysInItsRecord(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	sealer := newSealer(t)
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer = sealer })
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, by)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := c.Firestore.Collection(Collection).Doc(k.ID).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fields := doc.Data()
	fields["orgId"] = "org2"
	put(t, c, "key_stolen", fields)
	if _, err := s.Lookup(t.Context(), "key_stolen"); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("Lookup of a copied record = %v, want ErrInvalid", err)
	}
	keys, err := s.List(t.Context(), "")
	if keys = slices.DeleteFunc(keys, func(k *Key) bool { return k.State == Damaged }); err != nil || len(keys) != 1 || keys[0].ID != k.ID {
		t.Errorf("List = %v, %v, want the one key that makes sense", keys, err)
	}
	if keys, err = s.List(t.Context(), "org2"); err != nil || len(keys) != 1 || keys[0].State != Damaged {
		t.Errorf("List(org2) = %v, %v, want a damaged one", keys, err)
	}
}

func TestAdminFaults(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0)
	if _, err := s.Create(t.Context(), Draft{OrgID: "a/b"}, by); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("Create for a bad org = %v", err)
	}
	// An org of that id would be taken for another's sandbox, and its rows never be seen.
	for _, sandbox := range []bool{false, true} {
		if _, err := s.Create(t.Context(), Draft{OrgID: jobs.SandboxOf("org1"), Sandbox: sandbox}, by); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("Create for a sandbox's id, sandbox %t = %v", sandbox, err)
		}
	}
	for _, id := range []string{"key_absent", "../x"} {
		if _, err := s.Rotate(t.Context(), id, Rotation{Purpose: ForRequests, Overlap: 0}, by); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Rotate(%s) = %v, want ErrNotFound", id, err)
		}
		if err := s.SetState(t.Context(), id, Disabled, by); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("SetState(%s) = %v, want ErrNotFound", id, err)
		}
	}
	if err := s.SetState(t.Context(), "key_absent", "asleep", by); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("SetState(asleep) = %v, want ErrInvalid", err)
	}
	for _, overlap := range []time.Duration{-1, MaxOverlap + 1} {
		if _, err := s.Rotate(t.Context(), "key_absent", Rotation{Purpose: ForRequests, Overlap: overlap}, by); err == nil || errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Rotate(overlap %s) = %v, want it refused", overlap, err)
		}
	}
}

func TestFileKeyset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	sealed := make([][]byte, 8)
	var openers sync.WaitGroup
	for i := range sealed { // all at once: one of them makes the file
		openers.Go(func() {
			h, err := FileKeyset(path)
			if err != nil {
				t.Errorf("FileKeyset = %v", err)
				return
			}
			s, err := NewSealer(h)
			if err != nil {
				t.Error(err)
				return
			}
			sealed[i], _ = s.seal("key_1", "a", NewSecret("text"))
		})
	}
	openers.Wait()
	h, err := FileKeyset(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSealer(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range sealed {
		if got, err := s.open("key_1", "a", b); err != nil || got.Reveal() != "text" {
			t.Errorf("open = %v, want what was sealed by another opener of the file", err)
		}
		if _, err := s.open("key_2", "a", b); err == nil {
			t.Error("open for another key = nil")
		}
		if _, err := s.open("key_1", "b", b); err == nil {
			t.Error("open under another name = nil")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	files, _ := os.ReadDir(filepath.Dir(path))
	if len(files) != 1 {
		t.Errorf("%d files are left, want 1", len(files))
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FileKeyset(path); err == nil {
		t.Error("FileKeyset of a damaged file = nil")
	}
}
