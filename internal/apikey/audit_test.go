package apikey

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// Webhook secrets are rotated as those for requests are, whatever form a record has them in, and neither
// rotation touches the other's secrets.
func TestRotateWebhookSecret(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	sealer := newSealer(t)
	formerly, err := sealer.seal("key_former", webhookName, NewSecret("whsec_old"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		id     string
		sealer *Sealer
		record map[string]any
		old    string
	}{
		"by hand":           {"key_byhand", nil, map[string]any{"webhookSecret": "whsec_old"}, "whsec_old"},
		"by hand, sealed":   {"key_toseal", sealer, map[string]any{"webhookSecret": "whsec_old"}, "whsec_old"},
		"sealed field":      {"key_former", sealer, map[string]any{"webhookSecretSealed": formerly}, "whsec_old"},
		"list of plain one": {"key_listed", sealer, map[string]any{"webhookSecrets": []map[string]any{{"id": "sec_1", "plain": "whsec_old"}}}, "whsec_old"},
		"none":              {"key_never1", sealer, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := goldenTime
			s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer, c.Now = tc.sealer, func() time.Time { return now } })
			fields := map[string]any{"orgId": "org1", "secret": goldenSecret}
			for k, v := range tc.record {
				fields[k] = v
			}
			put(t, c, tc.id, fields)
			if k, err := s.Lookup(t.Context(), tc.id); err != nil || webhookOf(k) != tc.old {
				t.Fatalf("before: %q, %v, want %q", webhookOf(k), err, tc.old)
			}
			fresh, err := s.Rotate(t.Context(), tc.id, Rotation{Purpose: ForCallbacks, Overlap: time.Hour}, by)
			if err != nil || !strings.HasPrefix(fresh.Reveal(), "whsec_") {
				t.Fatalf("Rotate = %v", err)
			}
			k, err := s.Lookup(t.Context(), tc.id)
			if err != nil {
				t.Fatal(err)
			}
			for after, want := range map[time.Duration]string{
				0:                       strings.TrimSpace(fresh.Reveal() + " " + tc.old),
				time.Hour - time.Second: strings.TrimSpace(fresh.Reveal() + " " + tc.old),
				time.Hour:               fresh.Reveal(),
			} {
				if own, _ := k.CallbackSecrets(now.Add(after)); strings.Join(own, " ") != want {
					t.Errorf("%s later: %d secrets sign callbacks, want %q", after, len(own), want)
				}
			}
			if _, api := k.CallbackSecrets(now); !slices.Equal(api, []string{goldenSecret}) || !signs(t, s, tc.id, NewSecret(goldenSecret), now) {
				t.Error("the rotation touched the secret that signs requests")
			}
			record := stored(t, c, tc.id)
			for _, field := range []string{`"webhookSecret":`, `"webhookSecretSealed":`} {
				if strings.Contains(record, field) {
					t.Errorf("the record keeps %s", field)
				}
			}
			if tc.sealer != nil && (strings.Contains(record, "whsec_") || strings.Contains(record, goldenSecret)) {
				t.Error("the record holds a secret in clear")
			}
			last, err := s.Rotate(t.Context(), tc.id, Rotation{Purpose: ForCallbacks, Overlap: 0}, by)
			if k, e := s.Lookup(t.Context(), tc.id); err != nil || e != nil || webhookOf(k) != last.Reveal() {
				t.Errorf("Rotate without overlap = %v, %v; want the new secret only", err, e)
			}
		})
	}
}

// A sealed webhook secret, which receivers know in clear, is of no use among the secrets that sign requests.
func TestWebhookSecretSignsNoRequests(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer = newSealer(t) })
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, by)
	if err != nil {
		t.Fatal(err)
	}
	if signs(t, s, k.ID, k.WebhookSecrets[0].Secret, goldenTime) {
		t.Error("the webhook secret signs requests")
	}
	doc, err := s.doc(k.ID).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fields := doc.Data()
	fields["secrets"] = fields["webhookSecrets"]
	put(t, c, k.ID, fields)
	s.Forget(k.ID)
	if _, err := s.Lookup(t.Context(), k.ID); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("Lookup with the lists swapped = %v, want ErrInvalid", err)
	}
}

// Whoever changes a key is in its history, with the reason; the history is bounded and keeps who made the
// key.
func TestAudit(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	now := goldenTime
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer, c.Now = newSealer(t), func() time.Time { return now } })
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, By{"api key key_a", "first", nil})
	if err != nil {
		t.Fatal(err)
	}
	do := func(minute int, fn func(By) error) {
		t.Helper()
		now = goldenTime.Add(time.Duration(minute) * time.Minute)
		if err := fn(By{"api key key_b", fmt.Sprint("minute ", minute), nil}); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(p Purpose) func(By) error {
		return func(by By) error {
			_, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: p, Overlap: time.Hour}, by)
			return err
		}
	}
	do(1, rotate(ForRequests))
	do(2, rotate(ForCallbacks))
	do(3, func(by By) error { return s.SetState(t.Context(), k.ID, Disabled, by) })
	do(4, func(by By) error { return s.SetState(t.Context(), k.ID, Active, by) })
	got, audit, err := s.Get(t.Context(), "", k.ID)
	if err != nil || got.State != Active || len(got.Secrets) != 2 || len(got.WebhookSecrets) != 2 {
		t.Fatalf("Get = %+v, %v", got, err)
	}
	var lines []string
	for _, e := range audit {
		lines = append(lines, fmt.Sprint(e.At.Sub(goldenTime), " ", e.Action, " by ", e.Actor, ": ", e.Reason))
	}
	want := []string{
		"0s created by api key key_a: first", "1m0s rotated by api key key_b: minute 1", "2m0s webhook_rotated by api key key_b: minute 2",
		"3m0s revoked by api key key_b: minute 3", "4m0s enabled by api key key_b: minute 4",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("history:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for minute := 5; minute < maxAudit+3; minute++ {
		do(minute, rotate(ForCallbacks))
	}
	_, audit, err = s.Get(t.Context(), "", k.ID)
	if err != nil || len(audit) != maxAudit || audit[0].Action != ActionCreated || audit[1].Reason != "minute 4" || audit[maxAudit-1].Reason != fmt.Sprint("minute ", maxAudit+2) {
		t.Errorf("after %d changes there are %d lines, from %+v on", maxAudit+3, len(audit), audit[:2])
	}
	for _, id := range []string{"key_absent", "../x"} {
		if _, _, err := s.Get(t.Context(), "", id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Get(%s) = %v, want ErrNotFound", id, err)
		}
	}
}
