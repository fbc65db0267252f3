package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
	"exportd/internal/vip"
)

// TestLargeRows: pages of rows as large as documents can be hold no more than they may, and together every
// row once; the same of rows that grow by being decoded and answered.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	const most = 2 << 20
	cloud, r := open(t)
	docs := make(map[string]map[string]any)
	for i := range 16 {
		message := map[string]any{"workspaceId": "w", "mediumId": "c", "timestamp": start.Add(time.Duration(i/3) * time.Second), "labels": "x"}
		user := map[string]any{"workspaceId": "w", "mediumId": "c", "ltv": i / 3}
		for _, fields := range []map[string]any{message, user} {
			text := map[bool]string{false: "text", true: "displayName"}[fields["ltv"] != nil]
			switch i % 4 {
			case 0:
				fields[text] = strings.Repeat("x", MaxDocument-20_000)
			case 1: // six bytes each in JSON
				fields[text] = strings.Repeat("\x01", 200_000)
			case 2:
				list := map[bool]string{false: "labels", true: "tags"}[fields["ltv"] != nil]
				fields[list] = slices.Repeat([]string{"a"}, 10_000)
			}
		}
		docs[fmt.Sprintf("VipMessages/m%02d", i)], docs[fmt.Sprintf("VipUsers/u%02d", i)] = message, user
	}
	store(t, cloud.Firestore, docs)
	for d, q := range map[*dataset.Dataset]vip.Query{dataset.VIPMessages: messages(), dataset.VIPUsers: users()} {
		row := jsonrow.NewEncoder(d, jsonrow.Options{})
		want := official(t, cloud.Firestore, q)
		for _, limit := range []int{1, 5, 200} {
			var got []string
			pages, cut := 0, 0
			for after := (*vip.Position)(nil); len(got) < 6 || limit > 1; { // of single rows some are enough
				p, err := r.Page(t.Context(), q, after, 0, limit, most, row)
				if err != nil {
					t.Fatal(err)
				}
				size := 0
				for i, b := range p.Rows {
					if i < len(p.Rows)-1 { // the last may be found to be more than it seemed
						size += len(b)
					}
					var id struct{ ID string }
					if err := json.Unmarshal(b, &id); err != nil {
						t.Fatal(err)
					}
					got = append(got, id.ID)
				}
				if size > most || len(p.Rows) == 0 || len(p.Rows) > limit || p.Cut && (p.Next == nil || len(p.Rows) == limit) {
					t.Fatalf("%s: a page of %d rows of %d has %d bytes, cut: %t", d.Name, len(p.Rows), limit, size, p.Cut)
				}
				if pages++; p.Cut {
					cut++
				}
				if after = p.Next; after == nil {
					break
				}
			}
			if limit > 1 && !slices.Equal(got, want) {
				t.Errorf("%s: pages of %d have %v, want %v", d.Name, limit, got, want)
			}
			if cut == 0 != (limit == 1) {
				t.Errorf("%s: of %d pages of %d rows %d were cut", d.Name, pages, limit, cut)
			}
		}
		p, err := r.Page(t.Context(), q, nil, 0, 5, 1000, row)
		if err != nil || len(p.Rows) > 0 && p.Next == nil || !p.Cut {
			t.Errorf("%s: a page of 1,000 bytes has %d rows, cut: %t, %v", d.Name, len(p.Rows), p.Cut, err)
		}
	}
}

// TestLargeDirectory: a list without pages is refused where it is too large, and what it does not show is not
// read.
func TestLargeDirectory(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	large := strings.Repeat("x", 500_000)
	docs := make(map[string]map[string]any)
	for i := range 6 {
		docs[fmt.Sprintf("Workspaces/w%d", i)] = map[string]any{"orgId": "o1", "name": large, "isVip": math.NaN()}
		docs[fmt.Sprintf("Workspaces/v%d", i)] = map[string]any{"orgId": "o2", "name": "n", "settings": large}
		docs[fmt.Sprintf("Channels/c%d", i)] = map[string]any{"orgId": "o1", "workspaceIds": slices.Repeat([]string{"w"}, 50_000)}
		docs[fmt.Sprintf("Channels/d%d", i)] = map[string]any{"orgId": "o2", "token": large, "workspaceIds": []any{5, nil, "w"}}
	}
	store(t, cloud.Firestore, docs)
	const most = 1 << 20
	if list, err := r.Workspaces(t.Context(), "o1", most); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Workspaces() of 3 MB = %d, %v", len(list), err)
	}
	if list, err := r.Channels(t.Context(), "o1", "", most); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Channels() of 3 MB = %d, %v", len(list), err)
	}
	if list, err := r.Workspaces(t.Context(), "o1", 4*most); err != nil || len(list) != 6 || list[0].IsVIP {
		t.Errorf("Workspaces() of 3 MB with room for 4 = %d, %v", len(list), err)
	}
	workspaces, err := r.Workspaces(t.Context(), "o2", most)
	channels, cerr := r.Channels(t.Context(), "o2", "", most)
	if err != nil || cerr != nil || len(workspaces) != 6 || len(channels) != 6 || channels[0].WorkspaceIDs[2] != "w" {
		t.Errorf("lists whose documents are large by what they do not show = %d, %d, %v, %v", len(workspaces), len(channels), err, cerr)
	}
}
