package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestPagesAreBilledOnce: paging by nextOffset reads each row once and what tells the next page, where
// skipping reads all rows before each page; rows written between two pages neither repeat nor hide others.
func TestPagesAreBilledOnce(t *testing.T) {
	t.Parallel()
	const users, limit = 1000, 10
	cloud := localcloudtest.Start(t)
	reader, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	write := func(docs map[string]map[string]any) {
		t.Helper()
		err := cloud.Firestore.RunTransaction(t.Context(), func(_ context.Context, tx *firestore.Transaction) error {
			for path, fields := range docs {
				if err := tx.Set(cloud.Firestore.Doc(path), fields); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(map[string]map[string]any{
		"Workspaces/ws1": {"orgId": "org1", "isVip": true, "channelIds": []string{"ch1"}}, "Channels/ch1": {"orgId": "org1"},
	})
	var want []string
	for chunk := range slices.Chunk(make([]struct{}, users), 500) {
		docs := map[string]map[string]any{}
		for range chunk {
			id := fmt.Sprintf("u%04d", len(want))
			docs["VipUsers/"+id] = map[string]any{"workspaceId": "ws1", "mediumId": "ch1", "ltv": float64(users - len(want)/7)}
			want = append(want, id)
		}
		write(docs)
	}
	b := newBench(t, func(c *Config) { c.Records = reader })

	before := cloud.Faults().Counters().DocumentsRead
	var got []string
	offset := 0
	for page := 0; ; page++ {
		w := b.get(t, "/vip-users?workspaceId=ws1&mediumId=ch1&limit="+strconv.Itoa(limit)+"&offset="+strconv.Itoa(offset))
		wantStatus(t, w, http.StatusOK)
		var body struct {
			Users      []struct{ ID string }
			NextOffset *int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		for _, u := range body.Users {
			got = append(got, u.ID)
		}
		if page == 20 { // before and behind where the caller is
			write(map[string]map[string]any{"VipUsers/new": {"workspaceId": "ws1", "mediumId": "ch1", "ltv": 1e6}})
		}
		if body.NextOffset == nil {
			break
		}
		offset = *body.NextOffset
	}
	billed := cloud.Faults().Counters().DocumentsRead - before
	if !slices.Equal(got, want) {
		t.Errorf("%d rows, want the %d that were there, once and in order", len(got), len(want))
	}

	const far = 50
	before = cloud.Faults().Counters().DocumentsRead
	for i := range far {
		wantStatus(t, b.get(t, "/vip-users?workspaceId=ws1&mediumId=ch1&limit=200&offset="+strconv.Itoa(maxOffset-i)), http.StatusOK)
	}
	if behind := cloud.Faults().Counters().DocumentsRead - before; behind > 3*far {
		t.Errorf("%d reads for %d pages behind the last row, want workspace and channel of each, and a count", behind, far)
	} else {
		t.Logf("%d pages behind the last row: %d reads", far, behind)
	}

	before = cloud.Faults().Counters().DocumentsRead
	q := dataset.VIPUsers.Query("org1", jobs.Params{"workspaceId": "ws1", "mediumId": "ch1"})
	for offset := 0; offset < users; offset += limit {
		if _, err := reader.Page(t.Context(), q, nil, offset, limit, smallPage, jsonrow.NewEncoder(dataset.VIPUsers, jsonrow.Options{})); err != nil {
			t.Fatal(err)
		}
		if _, _, err := reader.Count(t.Context(), q, vip.Range{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	skipping := cloud.Faults().Counters().DocumentsRead - before
	t.Logf("%d pages of %d: %d reads, %d by skipping", users/limit, limit, billed, skipping)
	if skipping < users/limit*users/2 {
		t.Errorf("skipping is billed %d reads: the embedded Firestore is kinder than Google's", skipping)
	}
	// Each row, one more a page, workspace and channel for each request, and the count.
	if most := int64(users + users/limit + 2*users/limit + 20); billed > most {
		t.Errorf("%d reads billed, want at most %d", billed, most)
	}
}
