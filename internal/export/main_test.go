package export_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...)
}

// source has the documents of one query at one instant, whatever range is asked for.
type source struct {
	docs [][]byte
	at   time.Time
	// broken is how a scan ends after its documents.
	broken error
}

func (s *source) SnapshotTime(context.Context) (time.Time, error) { return s.at, nil }

func (s *source) Count(_ context.Context, _ vip.Query, _ vip.Range, at time.Time) (int64, time.Time, error) {
	if at.IsZero() {
		at = s.at
	}
	return int64(len(s.docs)), at, nil
}

func (s *source) First(context.Context, vip.Query, vip.Range, time.Time) (*vip.Position, error) {
	return nil, nil
}

func (s *source) Scan(_ context.Context, _ vip.Query, _ vip.Range, _ time.Time, _ records.Options, row func([]byte) error) error {
	for _, doc := range s.docs {
		if err := row(doc); err != nil {
			return err
		}
	}
	return s.broken
}

// users gives n documents whose names have width characters.
func users(tb testing.TB, n, width int) [][]byte {
	tb.Helper()
	docs := make([][]byte, n)
	for i := range docs {
		name := fmt.Sprintf("%0*d", width, i)
		var err error
		docs[i], err = proto.Marshal(&firestorepb.Document{
			Name:   fmt.Sprintf("projects/p/databases/(default)/documents/VipUsers/u%d", i),
			Fields: map[string]*firestorepb.Value{"displayName": {ValueType: &firestorepb.Value_StringValue{StringValue: name}}},
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return docs
}

// rig is an Exporter over a source and a bucket.
type rig struct {
	*export.Exporter
	source  *source
	objects *inmemory.Objects
}

func newRig(t *testing.T, s *source, cfg export.Config) *rig {
	t.Helper()
	objects := inmemory.NewObjects()
	return &rig{export.New(s, objects, cfg), s, objects}
}

var instant = time.Date(2026, 3, 4, 12, 34, 56, 789_000_000, time.UTC)

func newJob() *jobs.Job {
	return &jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org-1", Kind: "vip-users", Columns: dataset.VIPUsers.Version, State: jobs.Running, Epoch: 1, SnapshotTime: instant,
		Params: jobs.Params{"workspaceId": "ws1", "mediumId": "m1", "profile": jobs.ProfileRFC4180, "formulaGuard": true},
	}
}

// names lists the job's objects without their common prefix.
func (r *rig) names(t *testing.T, j *jobs.Job) (names []string) {
	t.Helper()
	for o, err := range r.objects.List(t.Context(), j.ObjectPrefix()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(o.Name, j.ObjectPrefix()))
	}
	return names
}

func (r *rig) read(t *testing.T, name string) []byte {
	t.Helper()
	body, err := r.objects.NewReader(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
