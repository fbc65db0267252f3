package vip_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestIndexes: every combination of filters has its index in the file, and the
// file has no other for these collections.
func TestIndexes(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deployments/firestore.indexes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Indexes []struct {
			CollectionGroup, QueryScope string
			Fields                      []struct{ FieldPath, Order, ArrayConfig string }
		}
		FieldOverrides []struct {
			CollectionGroup, FieldPath string
			Indexes                    []any
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var defined []string
	for _, index := range file.Indexes {
		if !strings.HasPrefix(index.CollectionGroup, "Vip") {
			continue
		}
		line := index.CollectionGroup + " " + index.QueryScope
		for _, f := range index.Fields {
			line += " " + f.FieldPath + ":" + f.Order + f.ArrayConfig
		}
		defined = append(defined, line)
	}
	var needed []string
	used := make(map[string]bool)
	for i := range 16 {
		kind := []jobs.Kind{jobs.KindUsers, jobs.KindMessages}[i&1]
		f := jobs.Filter{WorkspaceID: "w", MediumID: "c", From: day, To: day.Add(time.Hour)}
		if i&2 > 0 {
			f.HasBirthday, f.Label = true, "x"
		}
		if i&4 > 0 {
			f.BirthdayMonth, f.ContentType = 3, "text"
		}
		q := vip.NewQuery(kind, f)
		line := q.Collection + " COLLECTION"
		for _, c := range q.Conditions {
			line += " " + c.Field + ":" + map[vip.Op]string{vip.Equal: "ASCENDING", vip.ArrayContains: "CONTAINS"}[c.Op]
			used[q.Collection+"."+c.Field] = true
		}
		used[q.Collection+"."+q.SortField] = true
		needed = append(needed, line+" "+q.SortField+":DESCENDING __name__:ASCENDING")
	}
	slices.Sort(needed)
	needed = slices.Compact(needed)
	slices.Sort(defined)
	if !slices.Equal(needed, defined) {
		t.Errorf("indexes in the file:\n%s\nwant\n%s", strings.Join(defined, "\n"), strings.Join(needed, "\n"))
	}
	for _, o := range file.FieldOverrides {
		if used[o.CollectionGroup+"."+o.FieldPath] || len(o.Indexes) > 0 && strings.HasPrefix(o.CollectionGroup, "Vip") {
			t.Errorf("%s.%s is exempt from indexes, but queries use it", o.CollectionGroup, o.FieldPath)
		}
	}
}

func TestNewQuery(t *testing.T) {
	t.Parallel()
	q := vip.NewQuery(jobs.KindUsers, jobs.Filter{WorkspaceID: "w", MediumID: "c", HasBirthday: true, BirthdayMonth: 5, Label: "ignored", From: day})
	want := "[{workspaceId 0 w} {mediumId 0 c} {birthdayMonth 0 5}]"
	if got := fmt.Sprint(q.Conditions); got != want || !q.From.IsZero() || q.SortField != "ltv" || q.Collection != "VipUsers" {
		t.Errorf("NewQuery(users) = %+v, want conditions %s", q, want)
	}
	zone := time.FixedZone("", 3600)
	q = vip.NewQuery(jobs.KindMessages, jobs.Filter{WorkspaceID: "w", MediumID: "c", From: day.In(zone), To: day.Add(1500), HasBirthday: true})
	if len(q.Conditions) != 2 || q.From != day || q.To != day.Add(time.Microsecond) {
		t.Errorf("NewQuery(messages) = %+v", q)
	}
}

// TestDecoder: the texts of listed rows are those of exported cells.
func TestDecoder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 12))
	var d vip.Decoder
	for range 3000 {
		m := csvrowtest.RandomFields(r, nil)
		doc := csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", m)
		message, err := d.Message(doc)
		if err != nil {
			t.Fatal(err)
		}
		text := func(v any) string { return csvrowtest.Text(v) }
		if message.ID != "id" || message.Timestamp != text(m["timestamp"]) || message.PlayerID != text(m["playerId"]) || message.DisplayName != text(m["displayName"]) ||
			message.Kind != text(m["kind"]) || message.Source != text(m["source"]) || message.Text != text(m["text"]) || !slices.Equal(message.Labels, texts(m["labels"])) {
			t.Fatalf("Message(%q) = %q", m, message)
		}
		user, err := d.User(doc)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := m["personalInfo"].(map[string]any)
		if user.AvatarURL != text(m["avatarUrl"]) || user.Language != text(m["language"]) || user.Country != text(m["country"]) || string(user.LTV) != text(m["ltv"]) ||
			user.Currency != text(m["currency"]) || user.Tier != text(m["tier"]) || !slices.Equal(user.Tags, texts(m["tags"])) ||
			optional(user.FirstSeenAt) != text(m["firstSeenAt"]) || optional(user.LastSeenAt) != text(m["lastSeenAt"]) ||
			user.PersonalInfo.FullName != text(p["fullName"]) || user.PersonalInfo.Gender != text(p["gender"]) || optional(user.PersonalInfo.Birthday) != text(p["birthday"]) ||
			user.PersonalInfo.Email != text(p["email"]) || user.PersonalInfo.Phone != text(p["phone"]) || user.PersonalInfo.City != text(p["city"]) {
			t.Fatalf("User(%q) = %+v", m, user)
		}
		if (user.FirstSeenAt == nil) != (m["firstSeenAt"] == nil) {
			t.Fatalf("User(%q).FirstSeenAt = %v", m, user.FirstSeenAt)
		}
		for _, row := range []any{message, user} {
			if _, err := json.Marshal(row); err != nil {
				t.Fatalf("Marshal(%+v): %v", row, err)
			}
		}
	}
}

func optional(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func texts(v any) []string {
	list, ok := v.([]any)
	switch {
	case v == nil:
		return nil
	case !ok:
		return []string{csvrowtest.Text(v)}
	}
	var out []string
	for _, v := range list {
		out = append(out, csvrowtest.Text(v))
	}
	return out
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[vip.Number]string{"": "null", "1": "1", "-0": "-0", "12.5": "12.5", "1e+21": "1e+21", "1e-7": "1e-7", "NaN": `"NaN"`, "-Infinity": `"-Infinity"`,
		"abc": `"abc"`, "1 ": `"1 "`, "-": `"-"`, "007": `"007"`, "{}": `"{}"`, "true": `"true"`, "\x00": `"\u0000"`} {
		if got, err := json.Marshal(n); err != nil || string(got) != want {
			t.Errorf("Marshal(%q) = %s, %v, want %s", string(n), got, err, want)
		}
	}
}

func TestAppendLabels(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{"": nil, "a b": []any{"a", "b", "a", "", nil, int64(1), []byte("c")}, " ": "text"} {
		got, err := vip.AppendLabels(nil, csvrowtest.Document("d/c/i", map[string]any{"labels": v}))
		if err != nil || strings.Join(got, " ") != strings.TrimSpace(want) {
			t.Errorf("AppendLabels(%v) = %q, %v", v, got, err)
		}
	}
}
