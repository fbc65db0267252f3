package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"exportd/internal/config"
	"exportd/internal/dataset"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/service"

	"go.uber.org/zap"
)

// TestDoctorData: documents that no route shows are told as lines and as JSON, with exit code 1, and what was
// found so far is whole JSON also where doctor is stopped.
func TestDoctorData(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	e := cloud.Endpoints()
	cfg := config.Config{
		ProjectID: localcloudtest.Project, DatabaseID: "(default)", Datasets: dataset.BuiltIn,
		FirestoreHost: e.Firestore, PubSubHost: e.PubSub, StorageHost: e.Storage, Bucket: "b",
	}
	c, err := service.Open(t.Context(), cfg, zap.NewNop())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	put := func(path string, fields map[string]any) {
		t.Helper()
		_, err := cloud.Firestore.Doc(path).Set(t.Context(), fields)
		must(t, err)
	}
	put("Workspaces/w", map[string]any{"orgId": "o", "isVip": true, "channelIds": []string{"c"}})
	put("Channels/c", map[string]any{"orgId": "o"})
	put("VipUsers/fine", map[string]any{"workspaceId": "w", "mediumId": "c", "ltv": 1})
	flags := doctorFlags{samples: 10, maxReads: 100}
	var out bytes.Buffer
	if err := checkData(t.Context(), cfg, c, flags, &out); err != nil || !strings.HasPrefix(out.String(), "1 documents in 2 places looked at, 0 faults, 0 documents that nobody may read") {
		t.Errorf("of good data: %v\n%s", err, &out)
	}
	put("VipUsers/none", map[string]any{"workspaceId": "w", "mediumId": "c"})
	out.Reset()
	if err := checkData(t.Context(), cfg, c, flags, &out); !errors.Is(err, errUnwell) ||
		!strings.HasPrefix(out.String(), "BAD  vip-users of o w c: 1 of 2 documents: no sort field (ltv), as none\n2 documents in 2 places looked at, 1 faults,") {
		t.Errorf("of bad data: %v\n%s", err, &out)
	}
	var told struct {
		Findings []struct{ Faults []struct{ Samples []string } }
		Summary  struct {
			Faults   int
			Complete bool
		}
	}
	flags.asJSON = true
	out.Reset()
	if err := checkData(t.Context(), cfg, c, flags, &out); !errors.Is(err, errUnwell) || json.Unmarshal(out.Bytes(), &told) != nil ||
		len(told.Findings) != 1 || told.Findings[0].Faults[0].Samples[0] != "none" || told.Summary.Faults != 1 || !told.Summary.Complete {
		t.Errorf("as JSON: %v\n%s", err, &out)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	if err := checkData(stopped, cfg, c, flags, &out); !errors.Is(err, context.Canceled) || json.Unmarshal(out.Bytes(), &told) != nil || told.Summary.Complete || len(told.Findings) > 0 {
		t.Errorf("stopped: %v\n%s", err, &out)
	}
	flags.samples = maxSamples + 1
	if err := checkData(t.Context(), cfg, c, flags, &out); err == nil {
		t.Error("any number of samples is kept")
	}
}
