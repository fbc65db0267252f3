package apikey

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// TestDamagedRecords: a record that is damaged in whatever way gives nobody a right that its key does not
// have, is shown to admins as what it is, and is told of once.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	core, lines := observer.New(zap.WarnLevel)
	s := newStore(t, cloud, 0, func(c *StoreConfig) { c.Sealer, c.Damage = newSealer(t), telemetry.NewDamage(zap.New(core)) })
	made, err := s.Create(t.Context(), Draft{
		OrgID: "org1", Name: "n", Scopes: []Scope{ScopeRead}, ExpiresAt: time.Now().Add(time.Hour), CallbackHosts: []string{"a.example"},
		IPRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, MinVersion: 2, OneUse: true,
	}, by)
	if err != nil {
		t.Fatal(err)
	}
	ref := s.doc(made.ID)
	if err := s.noteUse(t.Context(), made.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	whole, err := ref.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if k, err := s.Fresh(t.Context(), made.ID); err != nil || !k.Usable(time.Now()) || lines.Len() > 0 {
		t.Fatalf("the whole record: %+v, %v, %v", k, err, lines.All())
	}
	wounds := localcloudtest.Wounds(whole.Data(), 0)
	wounds = append(wounds, localcloudtest.Wound{Field: "audit", What: "20,000 lines", Value: slices.Repeat([]any{map[string]any{"actor": "x"}}, 20_000)},
		localcloudtest.Wound{Field: "scopes", What: "5,000 items", Value: slices.Repeat([]string{"read"}, 5000)},
		localcloudtest.Wound{Field: "secrets", What: "one without a secret", Value: []any{map[string]any{"id": "x"}}})
	refused := 0
	for _, wound := range wounds {
		what := wound.Field + " = " + wound.What
		if _, err := ref.Set(context.Background(), whole.Data()); err != nil {
			t.Fatal(err)
		}
		if _, err := ref.Update(context.Background(), wound.Update()); err != nil {
			t.Fatal(err)
		}
		lines.TakeAll()
		if err := s.readDamaged(t.Context(), made); errors.Is(err, jobs.ErrInvalid) {
			refused++
			if lines.Len() != 1 {
				t.Errorf("%s: refused, and told of %d times", what, lines.Len())
			}
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for _, l := range lines.All() {
			if text := fmt.Sprint(l.ContextMap()); len(text) > 1000 || strings.Contains(text, made.Secrets[0].Secret.Reveal()) {
				t.Errorf("%s: the log says %.300s", what, text)
			}
		}
	}
	t.Logf("%d damages, %d refused", len(wounds), refused)
	if refused < len(wounds)/3 {
		t.Errorf("%d of %d damages were refused", refused, len(wounds))
	}
}

// readDamaged reads the record of a key in each way that there is. It gives an ErrInvalid where the key is
// refused for its record, and another error where that is of harm.
func (s *Store) readDamaged(ctx context.Context, made *Key) error {
	k, refused := s.Fresh(ctx, made.ID)
	if refused != nil && !errors.Is(refused, jobs.ErrInvalid) {
		return refused
	}
	if refused == nil {
		if k.Has(ScopeExport, ScopeOps, ScopeAdmin, ScopePlatform) && k.Scopes[0] != defaultScopes[0] {
			return fmt.Errorf("it has the scopes %q", k.Scopes)
		}
		if now := time.Now(); k.LastUsedAt.After(now.Add(25 * time.Hour)) {
			return fmt.Errorf("it was used last at %s", k.LastUsedAt)
		}
		if len(k.Name) > maxName || len(k.Secrets) == 0 || !ValidOrg(k.OrgID) {
			return fmt.Errorf("it is taken as %+v", k)
		}
	}
	list, err := s.List(ctx, "")
	if err != nil || len(list) != 1 || list[0].ID != made.ID || (list[0].State == Damaged) != (refused != nil) {
		return fmt.Errorf("List() = %+v, %v", list, err)
	}
	got, _, err := s.Get(ctx, "", made.ID)
	if err != nil || (got.State == Damaged) != (refused != nil) {
		return fmt.Errorf("Get() = %+v, %v", got, err)
	}
	if _, err := s.CountSealed(ctx, 10); err != nil {
		return err
	}
	if refused != nil {
		_, err = s.Rotate(ctx, made.ID, Rotation{Purpose: ForRequests}, by)
		if !errors.Is(err, jobs.ErrInvalid) && err != nil && !errors.Is(err, ErrDisabled) {
			return fmt.Errorf("Rotate() = %v", err)
		}
	}
	return refused
}

// TestDamagedNonces: a nonce whose document is damaged stays used, and those that can be swept are, whatever
// others hold.
func TestDamagedNonces(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	s := newStore(t, cloud, 0)
	past := time.Now().Add(-time.Hour)
	if err := s.UseNonce(t.Context(), "key_one1", "whole", past); err != nil {
		t.Fatal(err)
	}
	docs, err := cloud.Firestore.Collection(nonceCollection).Documents(t.Context()).GetAll()
	if err != nil || len(docs) != 1 {
		t.Fatal(len(docs), err)
	}
	wounds := localcloudtest.Wounds(docs[0].Data(), 0)
	wounds = append(wounds, localcloudtest.Wound{Field: "another", What: "1 MB of text", Value: strings.Repeat("x", 1<<20-20_000)})
	seen := map[string]bool{docs[0].Ref.ID: true}
	for _, wound := range wounds {
		if err := s.UseNonce(t.Context(), "key_one1", wound.Field+wound.What, past); err != nil {
			t.Fatal(err)
		}
		docs, err := cloud.Firestore.Collection(nonceCollection).Select().Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			if !seen[doc.Ref.ID] {
				seen[doc.Ref.ID] = true
				if _, err := doc.Ref.Update(context.Background(), wound.Update()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.UseNonce(t.Context(), "key_one1", wound.Field+wound.What, past); !errors.Is(err, ErrNonceUsed) {
			t.Errorf("%s = %s: used again: %v", wound.Field, wound.What, err)
		}
	}
	// The whole one, the one that is large, and those that year 1 was written to.
	if n := s.sweep(t.Context()); n != 3 {
		t.Errorf("%d were swept, want 3", n)
	}
	if n := s.sweep(t.Context()); n != 0 {
		t.Errorf("%d were swept after that", n)
	}
}
