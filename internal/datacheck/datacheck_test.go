package datacheck_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"exportd/internal/datacheck"
	"exportd/internal/dataset"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

type doc = map[string]any

// ugly is a database with a workspace that has every fault, one that is whole, and documents that nobody may
// read.
func ugly() map[string]doc {
	docs := map[string]doc{
		"Workspaces/w":      {"orgId": "o", "isVip": true, "channelIds": []string{"c", "c", "gone"}},
		"Workspaces/whole":  {"orgId": "o", "isVip": true},
		"Workspaces/plain":  {"orgId": "o", "isVip": false, "channelIds": []string{"c"}},
		"Workspaces/nobody": {"isVip": true, "channelIds": []string{"c"}},
		"Workspaces/odd":    {"orgId": 7, "isVip": "yes", "channelIds": "c"},
		"Workspaces/sand1":  {"orgId": "sandbox~o", "isVip": true},
		"Workspaces/sand2":  {"orgId": "sandbox~o", "isVip": false},
		"Workspaces/sandy":  {"orgId": "sandbox", "isVip": false},
		"Channels/c":        {"orgId": "o", "workspaceIds": []string{"whole"}},
		"Channels/d":        {"orgId": "p", "workspaceIds": []string{"w"}}, // another org's
	}
	user := func(id, workspace string, change doc) {
		u := doc{"workspaceId": workspace, "mediumId": "c", "ltv": 1.5, "hasBirthday": false}
		maps.Copy(u, change)
		maps.DeleteFunc(u, func(_ string, v any) bool { return v == "absent" })
		docs["VipUsers/"+id] = u
	}
	born := func(day any, flags doc) doc {
		u := doc{"personalInfo": doc{"birthday": day}}
		maps.Copy(u, flags)
		return u
	}
	for i := range 7 {
		user(fmt.Sprintf("missing%d", i), "w", doc{"ltv": "absent"})
		user(fmt.Sprintf("fine%d", i), "w", doc{"ltv": i})
		user(fmt.Sprintf("whole%d", i), "whole", born("1990-12-10", doc{"hasBirthday": true, "birthdayMonth": 12}))
		user(fmt.Sprintf("stray%d", i), "plain", doc{"ltv": "absent"})
	}
	user("text", "w", doc{"ltv": "12"})
	user("null", "w", doc{"ltv": nil})
	user("flag", "w", doc{"hasBirthday": true})
	user("flagnull", "w", born(nil, doc{"hasBirthday": true, "birthdayMonth": 3}))
	user("noflag", "w", born("1990-12-10", doc{"birthdayMonth": 12}))
	user("textflag", "w", born("1990-12-10", doc{"hasBirthday": "true", "birthdayMonth": 12}))
	user("month", "w", born("1990-12-10", doc{"hasBirthday": true, "birthdayMonth": 11}))
	user("nomonth", "w", born("1990-12-10", doc{"hasBirthday": true}))
	user("monthonly", "w", doc{"birthdayMonth": 4})
	user("nodate", "w", born("10.12.1990", doc{"hasBirthday": true, "birthdayMonth": 12}))
	user("map", "w", doc{"personalInfo": "Jo"})
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		docs[fmt.Sprintf("VipMessages/m%d", i)] = doc{"workspaceId": "w", "mediumId": "c", "timestamp": at.Add(time.Duration(i))}
		docs[fmt.Sprintf("VipMessages/w%d", i)] = doc{"workspaceId": "whole", "mediumId": "c", "timestamp": at}
	}
	docs["VipMessages/none"] = doc{"workspaceId": "w", "mediumId": "c"}
	docs["VipMessages/late"] = doc{"workspaceId": "w", "mediumId": "c", "timestamp": "2026-06-01T00:00:00Z"}
	docs["VipMessages/number"] = doc{"workspaceId": "w", "mediumId": "c", "timestamp": at.Unix()}
	docs["VipMessages/unconnected"] = doc{"workspaceId": "w", "mediumId": "x", "timestamp": at}
	docs["VipMessages/empty"] = doc{}
	return docs
}

func open(t *testing.T) *records.Reader {
	t.Helper()
	cloud := localcloudtest.Start(t)
	w := cloud.Firestore.BulkWriter(t.Context())
	for path, fields := range ugly() {
		if _, err := w.Set(cloud.Firestore.Doc(path), fields); err != nil {
			t.Fatal(err)
		}
	}
	w.End()
	r, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestCheck: every fault is counted where it is, with ids, and what nobody may read by number alone. Within
// its bound of reads it says what it left out, and it ends where its context does or its reader goes away.
func TestCheck(t *testing.T) {
	t.Parallel()
	cfg := datacheck.Config{Source: open(t), Datasets: dataset.BuiltIn, Samples: 3, MostReads: 1000}
	check := func(ctx context.Context, cfg datacheck.Config) (map[string]datacheck.Finding, datacheck.Summary, error) {
		found := map[string]datacheck.Finding{}
		sum, err := datacheck.Check(ctx, cfg, func(f datacheck.Finding) error {
			found[f.Dataset+" "+f.OrgID+" "+f.Workspace+" "+f.Channel] = f
			return nil
		})
		return found, sum, err
	}
	found, sum, err := check(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fault := func(what, field string, n int64, ids ...string) datacheck.Fault {
		return datacheck.Fault{What: what, Field: field, Documents: n, Samples: ids}
	}
	users := datacheck.Place{Dataset: "vip-users", OrgID: "o", Workspace: "w", Channel: "c"}
	messages := users
	messages.Dataset = "vip-messages"
	want := map[string]datacheck.Finding{
		"vip-users o w c": {Place: users, Documents: 25, Complete: true, Faults: []datacheck.Fault{
			fault(datacheck.NoDate, "personalInfo.birthday", 1, "nodate"),
			fault(datacheck.BirthdayOnly, "hasBirthday", 2, "noflag", "textflag"),
			fault(datacheck.OtherMonth, "birthdayMonth", 3, "month", "monthonly", "nomonth"),
			fault(datacheck.FlagOnly, "hasBirthday", 2, "flag", "flagnull"),
			fault(datacheck.NoSortField, "ltv", 7, "missing0", "missing1", "missing2"),
			fault(datacheck.OtherType, "ltv", 2, "null", "text"),
		}},
		"vip-messages o w c": {Place: messages, Documents: 8, Complete: true, Faults: []datacheck.Fault{
			fault(datacheck.NoSortField, "timestamp", 1, "none"),
			fault(datacheck.OtherType, "timestamp", 2, "late", "number"),
		}},
		"workspaces sandbox~o  ": {Place: datacheck.Place{Dataset: "workspaces", OrgID: "sandbox~o"}, Documents: 2, Complete: true, Faults: []datacheck.Fault{
			fault(datacheck.SandboxOrg, "orgId", 2, "sand1", "sand2"),
		}},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("found other faults (-want +got):\n%s", diff)
	}
	if sum.Places != 4 || sum.Documents != 25+8+7+5 || sum.Elsewhere != 7+2 || sum.Faults != 22 || !sum.Complete {
		t.Errorf("summary = %+v", sum)
	}

	cfg.MostReads = 10
	found, sum, err = check(t.Context(), cfg)
	if err != nil || sum.Complete || found["vip-users o w c"].Complete && found["vip-messages o w c"].Complete {
		t.Errorf("with 10 reads: %+v, %v", sum, err)
	}
	for name, whole := range want {
		if whole.Dataset == "workspaces" {
			continue
		}
		i := slices.IndexFunc(found[name].Faults, func(f datacheck.Fault) bool { return f.What == datacheck.NoSortField })
		j := slices.IndexFunc(whole.Faults, func(f datacheck.Fault) bool { return f.What == datacheck.NoSortField })
		if i < 0 || found[name].Faults[i].Documents != whole.Faults[j].Documents {
			t.Errorf("with 10 reads %s counts %+v", name, found[name].Faults)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	sum, err = datacheck.Check(ctx, cfg, func(datacheck.Finding) error { cancel(); return nil })
	if sum.Complete || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %+v, %v", sum, err)
	}
	gone := errors.New("nobody reads on")
	if _, err := datacheck.Check(t.Context(), cfg, func(datacheck.Finding) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("without a reader: %v", err)
	}
}
