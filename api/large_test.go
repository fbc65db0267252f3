package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
)

// TestLargePages: rows as large as documents can be are listed in pages that end early, each row once; where
// others hold all places for such pages, they end still earlier, or callers are told when to come again.
// Ordinary pages need none.
func TestLargePages(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	reader, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	put := func(path string, fields map[string]any) {
		t.Helper()
		if _, err := cloud.Firestore.Doc(path).Set(context.Background(), fields); err != nil {
			t.Fatal(err)
		}
	}
	put("Workspaces/ws1", map[string]any{"orgId": "org1", "isVip": true, "channelIds": []string{"ch1"}})
	put("Channels/ch1", map[string]any{"orgId": "org1"})
	put("Workspaces/ws9", map[string]any{"orgId": "org1", "name": strings.Repeat("x", 300_000)})
	var want []string
	for i := range 18 {
		// The first three are small, and one behind them.
		size := map[bool]int{false: 300_000, true: 100}[i < 3 || i == 9]
		id := fmt.Sprintf("r%02d", i)
		put("VipUsers/"+id, map[string]any{"workspaceId": "ws1", "mediumId": "ch1", "ltv": 100 - i, "displayName": strings.Repeat("x", size)})
		put("VipMessages/"+id, map[string]any{"workspaceId": "ws1", "mediumId": "ch1", "timestamp": noon.Add(-time.Duration(i) * time.Second), "text": strings.Repeat("\x01", size)})
		want = append(want, id)
	}
	b := newBench(t, func(c *Config) { c.Records = reader })
	type answer struct {
		Users, Messages []struct{ ID string }
		NextOffset      *int
		NextCursor      *string
	}
	ask := func(target string) (a answer, code int) {
		w := b.get(t, target)
		if w.Code == http.StatusOK {
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
		}
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s = 429 without Retry-After", target)
		}
		if n := b.large.taken(); n > largePages || len(w.Body.Bytes()) > 3*largePage {
			t.Errorf("%s: %d bytes, %d places are held", target, w.Body.Len(), n)
		}
		return a, w.Code
	}
	const users = "/vip-users?workspaceId=ws1&mediumId=ch1&limit=200"
	const messages = "/vip-messages?workspaceId=ws1&mediumId=ch1&from=2026-06-15&to=2026-06-15&limit=200"
	for _, base := range []string{users, messages} {
		var got []string
		pages := 0
		for more := ""; ; pages++ {
			a, code := ask(base + more)
			if code != http.StatusOK || b.large.taken() != 0 {
				t.Fatalf("%s = %d, %d places held after it", base+more, code, b.large.taken())
			}
			for _, row := range append(a.Users, a.Messages...) {
				got = append(got, row.ID)
			}
			if a.NextOffset == nil && a.NextCursor == nil {
				break
			}
			if a.NextOffset != nil {
				more = fmt.Sprint("&offset=", *a.NextOffset)
			} else {
				more = "&before=" + *a.NextCursor
			}
		}
		if !slices.Equal(got, want) || pages < 2 {
			t.Errorf("%s: %d pages have %v, want %v", base, pages, got, want)
		}
	}

	b.largeWait = time.Millisecond
	for range largePages { // others have all
		if leave, _ := b.large.acquireAny("org2", "key_two2"); leave == nil {
			t.Fatal("no place")
		}
	}
	for target, rows := range map[string]int{users: 3, messages: 3, users + "&offset=9": 1} {
		a, code := ask(target)
		if n := len(a.Users) + len(a.Messages); code != http.StatusOK || n != rows || a.NextOffset == nil && a.NextCursor == nil {
			t.Errorf("%s without a place = %d with %d rows, want %d and more to come", target, code, n, rows)
		}
	}
	for _, target := range []string{users + "&offset=3", "/workspaces"} {
		if _, code := ask(target); code != http.StatusTooManyRequests {
			t.Errorf("%s without a place = %d, want 429", target, code)
		}
	}
	if _, code := ask("/channels"); code != http.StatusOK {
		t.Errorf("an ordinary list beside them = %d", code)
	}
}

// TestDirectoryTooLarge: a list without pages whose documents come to more than one may hold is refused, not
// made.
func TestDirectoryTooLarge(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	reader, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	b := newBench(t, func(c *Config) { c.Records = reader })
	for i := range 4 {
		if _, err := cloud.Firestore.Doc(fmt.Sprint("Workspaces/w", i)).Set(context.Background(), map[string]any{"orgId": "org1", "name": strings.Repeat("x", 900_000)}); err != nil {
			t.Fatal(err)
		}
		w := b.get(t, "/workspaces")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusInternalServerError}[i < 2]; w.Code != want || b.large.taken() != 0 {
			t.Errorf("%d workspaces of 0.9 MB = %d, want %d: %.200s", i+1, w.Code, want, w.Body)
		}
	}
}
