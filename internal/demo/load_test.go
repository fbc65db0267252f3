package demo_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

const database = "projects/demo-test/databases/(default)"

var errBroken = errors.New("connection broken")

// memory is a Firestore of two calls. It breaks after a number of commits, and notes how many were under way
// at once.
type memory struct {
	mu        sync.Mutex
	documents map[string]*firestorepb.Document
	commits   int
	breakAt   int // 0: never
	inFlight  int
	most      int
}

func newMemory() *memory { return &memory{documents: map[string]*firestorepb.Document{}} }

func (m *memory) GetDocument(_ context.Context, request *firestorepb.GetDocumentRequest, _ ...gax.CallOption) (*firestorepb.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found, ok := m.documents[request.Name]; ok {
		return found, nil
	}
	return nil, status.Error(codes.NotFound, "no such document")
}

func (m *memory) Commit(_ context.Context, request *firestorepb.CommitRequest, _ ...gax.CallOption) (*firestorepb.CommitResponse, error) {
	m.mu.Lock()
	m.inFlight++
	m.most = max(m.most, m.inFlight)
	m.mu.Unlock()
	size := proto.Size(request) // outside the lock: gives the others time to be in flight
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	if m.commits++; m.breakAt > 0 && m.commits >= m.breakAt {
		return nil, errBroken
	}
	if len(request.Writes) > 500 || size > 4<<20 || request.Database != database {
		return nil, status.Errorf(codes.InvalidArgument, "%d writes, %d bytes to %s", len(request.Writes), size, request.Database)
	}
	for _, write := range request.Writes {
		if name := write.GetDelete(); name != "" {
			delete(m.documents, name)
			continue
		}
		document := write.GetUpdate()
		if _, taken := m.documents[document.Name]; taken && write.CurrentDocument != nil {
			return nil, status.Error(codes.AlreadyExists, "document exists")
		}
		m.documents[document.Name] = document
	}
	return &firestorepb.CommitResponse{}, nil
}

// data returns the documents of the dataset in a comparable form.
func (m *memory) data() map[string]string {
	out := map[string]string{}
	for name, document := range m.documents {
		path := strings.TrimPrefix(name, database+"/documents/")
		if strings.HasPrefix(path, "ApiKeys/") || strings.HasPrefix(path, "DemoData/") {
			continue
		}
		var b strings.Builder
		writeFields(&b, document.Fields)
		out[path] = b.String()
	}
	return out
}

func wanted(t *testing.T, o demo.Options) map[string]string {
	t.Helper()
	out := map[string]string{}
	for document := range generate(t, o).All() {
		var b strings.Builder
		writeFields(&b, document.Fields)
		out[document.Path] = b.String()
	}
	return out
}

func load(t *testing.T, m *memory, o demo.Options) demo.Summary {
	t.Helper()
	summary, err := demo.Load(t.Context(), demo.Target{Client: m, Database: database}, o)
	if err != nil {
		t.Fatalf("Load = %v", err)
	}
	return summary
}

func TestLoad(t *testing.T) {
	t.Parallel()
	m, o := newMemory(), options(500, 3000)
	summary := load(t, m, o)
	if !maps.Equal(m.data(), wanted(t, o)) {
		t.Error("the documents loaded are not those generated")
	}
	if !summary.Loaded || summary.From != "2026-01-30" || summary.To != "2026-03-01" {
		t.Errorf("Loaded, From, To = %v, %s, %s", summary.Loaded, summary.From, summary.To)
	}
	if m.most > 4 {
		t.Errorf("%d commits at once, want at most 4", m.most)
	}
	users, messages := 0, 0
	for document := range generate(t, o).All() {
		if str(document, "workspaceId") != summary.WorkspaceID || str(document, "mediumId") != summary.MediumID {
			continue
		}
		from, _ := time.Parse(time.DateOnly, summary.From)
		to, _ := time.Parse(time.DateOnly, summary.To)
		if strings.HasPrefix(document.Path, "VipUsers/") {
			users++
		} else if document.Fields["timestamp"].GetTimestampValue() != nil && !at(document).Before(from) && at(document).Before(to.AddDate(0, 0, 1)) {
			messages++
		}
	}
	if summary.Users != users || summary.Messages != messages || users < 400 || messages < 2000 {
		t.Errorf("Users, Messages = %d, %d, want %d, %d", summary.Users, summary.Messages, users, messages)
	}
}

func TestLoadMakesKeys(t *testing.T) {
	t.Parallel()
	m := newMemory()
	s := load(t, m, options(10, 10))
	form := regexp.MustCompile(`^key_demo_[A-Za-z0-9_-]{8,55}$`)
	secrets := map[string]bool{}
	for _, want := range []struct{ id, secret, org, state, scopes string }{
		{s.APIKey, s.Secret, s.OrgID, "active", "read export"},
		{s.OpsAPIKey, s.OpsSecret, s.OrgID, "active", "read export ops platform"},
		{s.OtherAPIKey, s.OtherSecret, s.OtherOrgID, "active", "read export"},
		{s.DisabledAPIKey, s.DisabledSecret, s.OrgID, "disabled", "read export"},
		{s.ExpiredAPIKey, s.ExpiredSecret, s.OrgID, "active", "read export"},
	} {
		document := m.documents[database+"/documents/ApiKeys/"+want.id]
		if document == nil || !form.MatchString(want.id) {
			t.Fatalf("key %q is missing or of another form", want.id)
		}
		got := demo.Document{Fields: document.Fields}
		var scopes []string
		for _, scope := range got.Fields["scopes"].GetArrayValue().Values {
			scopes = append(scopes, scope.GetStringValue())
		}
		if str(got, "orgId") != want.org || str(got, "state") != want.state || strings.Join(scopes, " ") != want.scopes {
			t.Errorf("key %s = %v", want.id, got.Fields)
		}
		if raw, err := hex.DecodeString(want.secret); err != nil || len(raw) != 32 || str(got, "secret") != want.secret {
			t.Errorf("key %s: the secret is not 32 bytes in hex, or not the one in Summary", want.id)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(str(got, "webhookSecret"), "whsec_"))
		if err != nil || len(raw) != 32 {
			t.Errorf("key %s: the webhook secret is not whsec_ and 32 bytes in base64", want.id)
		}
		if _, expires := got.Fields["expiresAt"]; expires != (want.id == s.ExpiredAPIKey) {
			t.Errorf("key %s: expiresAt set = %v", want.id, expires)
		}
		secrets[want.secret] = true
	}
	if other := load(t, newMemory(), options(10, 10)); len(secrets) != 5 || other.Secret == s.Secret || other.APIKey != s.APIKey {
		t.Error("secrets must be fresh for each key and database, ids must not")
	}
}

func TestLoadAgain(t *testing.T) {
	t.Parallel()
	m, o := newMemory(), options(50, 200)
	first := load(t, m, o)
	before, commits := m.data(), m.commits

	o.Now = o.Now.AddDate(0, 0, 5)
	second := load(t, m, o)
	if m.commits != commits || !maps.Equal(before, m.data()) {
		t.Errorf("a second load made %d commits", m.commits-commits)
	}
	first.Loaded = false
	if second != first {
		t.Error("the second load's summary differs from the first's")
	}

	// Other sizes change nothing that is there: a folder made with others is served as it is.
	o.Users, o.Messages = 80, 30
	var progress []int
	o.Progress = func(written int) { progress = append(progress, written) }
	if other := load(t, m, o); other != first || m.commits != commits || progress != nil {
		t.Errorf("a load of other sizes made %d commits, told %v: %+v", m.commits-commits, progress, other)
	}

	o.Refill = true
	for _, sizes := range [][2]int{{80, 300}, {20, 100}} {
		o.Users, o.Messages, progress = sizes[0], sizes[1], nil
		resized := load(t, m, o)
		if len(progress) < 2 || progress[0] != 0 || progress[len(progress)-1] < len(wanted(t, o)) || !slices.IsSorted(progress) {
			t.Errorf("progress of a refill = %v, want 0 to all %d documents", progress, len(wanted(t, o)))
		}
		if !maps.Equal(m.data(), wanted(t, o)) {
			t.Errorf("after a load of %v the documents are not those generated", sizes)
		}
		if resized.Secret != first.Secret || resized.WebhookSecret != first.WebhookSecret {
			t.Error("another size made new secrets")
		}
	}
}

func TestLoadAfterABreak(t *testing.T) {
	t.Parallel()
	whole, o := newMemory(), options(200, 2000)
	load(t, whole, o)
	last := whole.commits // the marker; the five keys are before it
	// The next day, and smaller: what the broken load wrote beyond it must go.
	next := options(100, 700)
	next.Now = o.Now.AddDate(0, 0, 1)
	want := wanted(t, next)
	for name, breakAt := range map[string]int{"first marker": 1, "in between": 5, "first key": last - 5, "last marker": last} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			m.breakAt = breakAt
			if _, err := demo.Load(t.Context(), demo.Target{Client: m, Database: database}, o); !errors.Is(err, errBroken) {
				t.Fatalf("Load = %v, want %v", err, errBroken)
			}
			m.breakAt = 0
			if summary := load(t, m, next); !summary.Loaded {
				t.Error("the load after the break was skipped")
			}
			if !maps.Equal(m.data(), want) {
				t.Error("the documents loaded are not those generated")
			}
		})
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := demo.Load(ctx, demo.Target{Client: newMemory(), Database: database}, options(10, 10))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Load = %v, want %v", err, context.Canceled)
	}
}

// TestLoadIntoFirestore loads into a real server, the embedded one unless the environment names another, and
// reads back with the official client.
func TestLoadIntoFirestore(t *testing.T) {
	t.Parallel()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" {
		host = localcloudtest.Start(t).Endpoints().Firestore
	}
	target, closeTarget, err := demo.DialEmulator(t.Context(), host, "demo-load")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeTarget() })
	o := options(300, 500)
	started := time.Now()
	summary, err := demo.Load(t.Context(), target, o)
	if err != nil {
		t.Fatalf("Load = %v", err)
	}
	t.Logf("loaded in %v", time.Since(started))
	client, err := firestore.NewClient(t.Context(), "demo-load", localcloud.GRPCOptions(host)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })

	stored := map[string]string{}
	for _, collection := range []string{"Workspaces", "Channels", "VipUsers", "VipMessages"} {
		rows, err := client.Collection(collection).Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			text, _ := row.DataAt("text")
			stored[collection+"/"+row.Ref.ID], _ = text.(string)
		}
	}
	var missing []string
	count := 0
	for document := range generate(t, o).All() {
		count++
		if got, found := stored[document.Path]; !found || got != str(document, "text") {
			missing = append(missing, document.Path)
		}
	}
	if len(stored) != count || len(missing) > 0 {
		t.Errorf("%d documents stored, want %d; missing or changed: %v", len(stored), count, slices.Compact(missing))
	}
	again, err := demo.Load(t.Context(), target, o)
	summary.Loaded = false
	if err != nil || again != summary {
		t.Errorf("second Load = loaded %v, %v; want the same summary", again.Loaded, err)
	}
}
