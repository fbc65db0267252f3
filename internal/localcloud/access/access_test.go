package access_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"github.com/goccy/go-yaml"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/api/googleapi"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/access"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

func parse(t *testing.T, file string) *access.Roles {
	t.Helper()
	r, err := access.Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAccounts: the official clients, as an account that may do one thing of each service, and without an
// account.
func TestAccounts(t *testing.T) {
	t.Parallel()
	roles := parse(t, `accounts: {one: [datastore.entities.get, pubsub.topics.publish, storage.buckets.get], none: []}`)
	cloud := localcloudtest.Start(t, func(c *localcloud.Config) { c.Roles = roles })
	ctx := t.Context()
	if _, err := cloud.Firestore.Collection("c").Doc("d").Set(ctx, map[string]any{"a": 1}); err != nil {
		t.Fatalf("without an account: %v", err)
	}
	topic := "projects/" + localcloudtest.Project + "/topics/topic"
	if _, err := cloud.PubSub.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Storage.Bucket("bucket").Create(ctx, localcloudtest.Project, nil); err != nil {
		t.Fatal(err)
	}
	e := cloud.Endpoints().Accounts["one"]
	db := must(firestore.NewClient(ctx, localcloudtest.Project, localcloud.GRPCOptions(e.Firestore)...))(t)
	ps := must(pubsub.NewClient(ctx, localcloudtest.Project, localcloud.GRPCOptions(e.PubSub)...))(t)
	gcs := must(storage.NewClient(ctx, localcloud.StorageOptions(e.Storage)...))(t)
	t.Cleanup(func() { _, _, _ = db.Close(), ps.Close(), gcs.Close() })

	if _, err := db.Collection("c").Doc("d").Get(ctx); err != nil {
		t.Errorf("get: %v", err)
	}
	wantDenied(t, "datastore.entities.list")(db.Collection("c").Documents(ctx).Next())
	wantDenied(t, "datastore.entities.create")(db.Collection("c").Doc("new").Create(ctx, map[string]any{}))
	wantDenied(t, "datastore.entities.update")(db.Collection("c").Doc("d").Update(ctx, []firestore.Update{{Path: "a", Value: 2}}))
	wantDenied(t, "datastore.entities.delete")(db.Collection("c").Doc("d").Delete(ctx))
	publisher := ps.Publisher(topic)
	t.Cleanup(publisher.Stop)
	if _, err := publisher.Publish(ctx, &pubsub.Message{Data: []byte("x")}).Get(ctx); err != nil {
		t.Errorf("publish: %v", err)
	}
	wantDenied(t, "pubsub.topics.get")(ps.TopicAdminClient.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: topic}))
	if _, err := gcs.Bucket("bucket").Attrs(ctx); err != nil {
		t.Errorf("bucket: %v", err)
	}
	_, err := gcs.Bucket("bucket").Object("o").Attrs(ctx)
	if e, ok := errors.AsType[*googleapi.Error](err); !ok || e.Code != http.StatusForbidden || !strings.Contains(e.Message, "storage.objects.get") {
		t.Errorf("object: %v, want 403 with the permission", err)
	}
	may, err := gcs.Bucket("bucket").IAM().TestPermissions(ctx, []string{"storage.objects.get", "storage.buckets.get"})
	if err != nil || !slices.Equal(may, []string{"storage.buckets.get"}) {
		t.Errorf("TestPermissions = %v, %v, want the one that is granted", may, err)
	}
	if may, err := cloud.Storage.Bucket("bucket").IAM().TestPermissions(ctx, []string{"storage.objects.get"}); err != nil || len(may) != 1 {
		t.Errorf("TestPermissions without an account = %v, %v", may, err)
	}
	for _, wrong := range []string{"pubsub.topics.get", "storage.objects.", ""} {
		if may, err := cloud.Storage.Bucket("bucket").IAM().TestPermissions(ctx, []string{wrong}); err == nil {
			t.Errorf("TestPermissions(%q) = %v, want an error", wrong, may)
		}
	}

	u := roles.Usage()["one"]
	if len(u.Unused) != 0 || u.Used["datastore.entities.get"] != 1 || u.Used["pubsub.topics.publish"] != 1 || u.Used["storage.buckets.get"] != 1 || len(u.Denied) != 6 {
		t.Errorf("usage = %+v", u)
	}
}

// TestWriteStream: each request of a stream needs what its writes are, and the first, which has none,
// nothing.
func TestWriteStream(t *testing.T) {
	t.Parallel()
	roles := parse(t, "accounts: {one: [datastore.entities.create, datastore.entities.update]}")
	cloud := localcloudtest.Start(t, func(c *localcloud.Config) { c.Roles = roles })
	conn := must(grpc.NewClient(cloud.Endpoints().Accounts["one"].Firestore, grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
	t.Cleanup(func() { _ = conn.Close() })
	s := must(firestorepb.NewFirestoreClient(conn).Write(t.Context()))(t)
	const db = "projects/" + localcloudtest.Project + "/databases/(default)"
	send := func(req *firestorepb.WriteRequest) (*firestorepb.WriteResponse, error) {
		if err := s.Send(req); err != nil {
			t.Fatal(err)
		}
		return s.Recv()
	}
	must(send(&firestorepb.WriteRequest{Database: db}))(t)
	write := &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: db + "/documents/c/d"}}, CurrentDocument: exists(false)}
	must(send(&firestorepb.WriteRequest{Writes: []*firestorepb.Write{write}}))(t)
	remove := &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: db + "/documents/c/d"}}
	wantDenied(t, "datastore.entities.delete")(send(&firestorepb.WriteRequest{Writes: []*firestorepb.Write{remove}}))
	u := roles.Usage()["one"]
	if len(u.Used) != 1 || u.Used["datastore.entities.create"] != 1 || len(u.Denied) != 1 || u.Denied[0].Method != "Firestore/Write" {
		t.Errorf("usage = %+v, want one creation and one refusal", u)
	}
	if n := cloud.Faults().Counters().Methods["Firestore/Write"]; n.Calls != 1 || n.DocumentsWritten != 1 {
		t.Errorf("counted %+v, want one stream and the write that was accepted", n)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantDenied takes the answer of a call that lacks a permission.
func wantDenied(t *testing.T, permission string) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		s := status.Convert(err)
		if s.Code() != codes.PermissionDenied || len(s.Details()) != 1 {
			t.Errorf("without %s: %v, want PERMISSION_DENIED with a detail", permission, err)
			return
		}
		if info, ok := s.Details()[0].(*errdetails.ErrorInfo); !ok || info.GetMetadata()["permission"] != permission {
			t.Errorf("detail %v, want one that names %s", s.Details()[0], permission)
		}
	}
}

// calls has a call for each permission, which needs it alone or with others.
var calls = map[string]func(*access.Gate, net.Addr) error{
	"datastore.databases.get":            grpcCall("/google.firestore.v1.Firestore/BeginTransaction", nil),
	"datastore.databases.getMetadata":    grpcCall("/google.firestore.admin.v1.FirestoreAdmin/GetDatabase", nil),
	"datastore.databases.list":           grpcCall("/google.firestore.admin.v1.FirestoreAdmin/ListDatabases", nil),
	"datastore.entities.create":          commit(&firestorepb.Write{Operation: &firestorepb.Write_Update{}, CurrentDocument: exists(false)}),
	"datastore.entities.delete":          commit(&firestorepb.Write{Operation: &firestorepb.Write_Delete{}}),
	"datastore.entities.get":             grpcCall("/google.firestore.v1.Firestore/BatchGetDocuments", nil),
	"datastore.entities.list":            grpcCall("/google.firestore.v1.Firestore/RunQuery", nil),
	"datastore.entities.update":          commit(&firestorepb.Write{Operation: &firestorepb.Write_Update{}}),
	"datastore.indexes.get":              grpcCall("/google.firestore.admin.v1.FirestoreAdmin/GetField", nil),
	"datastore.indexes.list":             grpcCall("/google.firestore.admin.v1.FirestoreAdmin/ListFields", nil),
	"iam.serviceAccounts.signBlob":       httpCall("POST", "/signBlob"),
	"pubsub.subscriptions.consume":       grpcCall("/google.pubsub.v1.Subscriber/Pull", nil),
	"pubsub.subscriptions.create":        grpcCall("/google.pubsub.v1.Subscriber/CreateSubscription", nil),
	"pubsub.subscriptions.delete":        grpcCall("/google.pubsub.v1.Subscriber/DeleteSubscription", nil),
	"pubsub.subscriptions.get":           grpcCall("/google.pubsub.v1.Subscriber/GetSubscription", nil),
	"pubsub.subscriptions.list":          grpcCall("/google.pubsub.v1.Subscriber/ListSubscriptions", nil),
	"pubsub.subscriptions.update":        grpcCall("/google.pubsub.v1.Subscriber/UpdateSubscription", nil),
	"pubsub.topics.attachSubscription":   grpcCall("/google.pubsub.v1.Subscriber/CreateSubscription", nil),
	"pubsub.topics.create":               grpcCall("/google.pubsub.v1.Publisher/CreateTopic", nil),
	"pubsub.topics.delete":               grpcCall("/google.pubsub.v1.Publisher/DeleteTopic", nil),
	"pubsub.schemas.list":                grpcCall("/google.pubsub.v1.SchemaService/ListSchemas", nil),
	"pubsub.snapshots.create":            grpcCall("/google.pubsub.v1.Subscriber/CreateSnapshot", nil),
	"pubsub.snapshots.delete":            grpcCall("/google.pubsub.v1.Subscriber/DeleteSnapshot", nil),
	"pubsub.snapshots.get":               grpcCall("/google.pubsub.v1.Subscriber/GetSnapshot", nil),
	"pubsub.snapshots.update":            grpcCall("/google.pubsub.v1.Subscriber/UpdateSnapshot", nil),
	"pubsub.snapshots.list":              grpcCall("/google.pubsub.v1.Subscriber/ListSnapshots", nil),
	"pubsub.topics.detachSubscription":   grpcCall("/google.pubsub.v1.Publisher/DetachSubscription", nil),
	"pubsub.topics.get":                  grpcCall("/google.pubsub.v1.Publisher/GetTopic", nil),
	"pubsub.topics.list":                 grpcCall("/google.pubsub.v1.Publisher/ListTopics", nil),
	"pubsub.topics.publish":              grpcCall("/google.pubsub.v1.Publisher/Publish", nil),
	"pubsub.topics.update":               grpcCall("/google.pubsub.v1.Publisher/UpdateTopic", nil),
	"storage.buckets.create":             httpCall("POST", "/storage/v1/b?project=p"),
	"storage.buckets.delete":             httpCall("DELETE", "/storage/v1/b/bucket"),
	"storage.buckets.get":                httpCall("GET", "/storage/v1/b/bucket"),
	"storage.buckets.list":               httpCall("GET", "/storage/v1/b?project=p"),
	"storage.buckets.update":             httpCall("PATCH", "/storage/v1/b/bucket"),
	"storage.multipartUploads.abort":     httpCall("DELETE", "/bucket/object?uploadId=u"),
	"storage.multipartUploads.create":    httpCall("POST", "/bucket/object?uploads"),
	"storage.multipartUploads.list":      httpCall("GET", "/bucket?uploads"),
	"storage.multipartUploads.listParts": httpCall("GET", "/bucket/object?uploadId=u"),
	"storage.objects.create":             httpCall("POST", "/upload/storage/v1/b/bucket/o?uploadType=resumable&ifGenerationMatch=0"),
	"storage.objects.delete":             httpCall("POST", "/upload/storage/v1/b/bucket/o?uploadType=media"), // may overwrite
	"storage.objects.get":                httpCall("GET", "/bucket/object?X-Goog-Signature=x"),
	"storage.objects.list":               httpCall("GET", "/storage/v1/b/bucket/o"),
	"storage.objects.update":             httpCall("PATCH", "/storage/v1/b/bucket/o/object"),
}

func exists(v bool) *firestorepb.Precondition {
	return &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: v}}
}

func commit(w *firestorepb.Write) func(*access.Gate, net.Addr) error {
	return grpcCall("/google.firestore.v1.Firestore/Commit", &firestorepb.CommitRequest{Writes: []*firestorepb.Write{w}})
}

func grpcCall(method string, req any) func(*access.Gate, net.Addr) error {
	return func(g *access.Gate, addr net.Addr) error {
		ctx := peer.NewContext(context.Background(), &peer.Peer{LocalAddr: addr})
		_, err := g.Unary()(ctx, req, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) { return nil, nil })
		return err
	}
}

func httpCall(method, target string) func(*access.Gate, net.Addr) error {
	return func(g *access.Gate, addr net.Addr) error {
		r := httptest.NewRequest(method, "http://127.0.0.1"+target, nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
		w := httptest.NewRecorder()
		g.HTTP(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code == http.StatusForbidden {
			return status.Error(codes.PermissionDenied, w.Body.String())
		}
		return nil
	}
}

func at(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

// TestEachPermission: every permission of the table, and so every one that deployments grant, stops a call
// when it alone is missing, and stops nothing when it is there.
func TestEachPermission(t *testing.T) {
	t.Parallel()
	all := access.Permissions()
	if missing := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return calls[p] != nil }); len(missing) > 0 {
		t.Fatalf("no call here needs %q", missing)
	}
	for _, lacking := range all {
		rest := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return p == lacking })
		roles := parse(t, "accounts: {all: ["+strings.Join(all, ",")+"], less: ["+strings.Join(rest, ",")+"]}")
		g := access.NewGate(zap.NewNop())
		g.Bind(at(1), roles.Account("all"))
		g.Bind(at(2), roles.Account("less"))
		if err := calls[lacking](g, at(1)); err != nil {
			t.Errorf("with all permissions, %s among them: %v", lacking, err)
		}
		if err := calls[lacking](g, at(2)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("with all but %s: %v, want a refusal", lacking, err)
		}
		if err := calls[lacking](g, at(3)); err != nil {
			t.Errorf("at an address of no account: %v", err)
		}
		if d := roles.Usage()["less"].Denied; len(d) != 1 || d[0].Permission != lacking {
			t.Errorf("without %s: denied = %+v", lacking, d)
		}
	}
}

// TestDeployed: what deployments grant, one permission less at a time: the process that lost it is stopped by
// name.
func TestDeployed(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../deployments/permissions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Accounts map[string][]string }
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(file.Accounts)); !slices.Equal(got, []string{"api", "doctor", "setup", "worker"}) {
		t.Fatalf("accounts %q, want one for each process", got)
	}
	for account, granted := range file.Accounts {
		if !slices.IsSorted(granted) {
			t.Errorf("the permissions of %s are not sorted", account)
		}
		for _, lacking := range granted {
			rest := slices.DeleteFunc(slices.Clone(granted), func(p string) bool { return p == lacking })
			roles := parse(t, "accounts: {a: ["+strings.Join(rest, ",")+"]}")
			g := access.NewGate(zap.NewNop())
			g.Bind(at(1), roles.Account("a"))
			if err := calls[lacking](g, at(1)); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s without %s: %v, want a refusal", account, lacking, err)
			}
		}
	}
}

func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	roles := parse(t, "accounts: {all: ["+strings.Join(access.Permissions(), ",")+"]}")
	g := access.NewGate(zap.NewNop())
	g.Bind(at(1), roles.Account("all"))
	for name, call := range map[string]func(*access.Gate, net.Addr) error{
		"gRPC":      grpcCall("/google.firestore.v1.Firestore/ExecutePipeline", nil),
		"ACLs":      httpCall("GET", "/storage/v1/b/bucket/acl"),
		"an object": httpCall("POST", "/storage/v1/b/bucket/o/object/restore"),
		"XML":       httpCall("POST", "/bucket/object"),
	} {
		if err := call(g, at(1)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if d := roles.Usage()["all"].Denied; len(d) != 4 {
		t.Errorf("denied = %+v, want four methods", d)
	}
	if err := grpcCall("/google.iam.v1.IAMPolicy/TestIamPermissions", nil)(g, at(1)); err != nil {
		t.Errorf("TestIamPermissions: %v, it needs nothing", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "0 accounts",
		"accounts: {a: [datastore.entities.gett]}":              `needs a permission "datastore.entities.gett"`,
		"accounts: {a: [roles/owner]}":                          `needs a permission "roles/owner"`,
		"accounts: {A: []}":                                     "lower-case",
		"accounts: {a: [pubsub.topics.get, pubsub.topics.get]}": "listed twice",
		"account: {a: []}":                                      "account",
		"accounts: [":                                           "parse roles",
	} {
		if _, err := access.Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", in, err, want)
		}
	}
}

// TestOverwriteConditions: what says that nothing is replaced is a parameter of the JSON API and a header of
// the XML API; each counts only there.
func TestOverwriteConditions(t *testing.T) {
	t.Parallel()
	g := access.NewGate(zap.NewNop())
	g.Bind(at(1), parse(t, "accounts: {a: [storage.multipartUploads.create, storage.objects.create, storage.objects.get]}").Account("a"))
	for _, c := range []struct {
		method, target string
		header, may    bool
	}{
		{"POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=x", false, false},
		{"POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=x", true, false},
		{"POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=x&ifGenerationMatch=0", false, true},
		{"PUT", "/bucket/x", false, false},
		{"PUT", "/bucket/x", true, true},
		{"PUT", "/bucket/x?ifGenerationMatch=0", false, false},
		// Only a chunk has had its condition before.
		{"PUT", "/upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id=x", false, true},
		{"POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=x&upload_id=", false, false},
		{"POST", "/storage/v1/b/bucket/o/x/compose?upload_id=x", false, false},
		{"PUT", "/bucket/x?upload_id=x", false, false},
		// Parts replace nothing that anybody sees; what completes their upload may.
		{"POST", "/bucket/x?uploads", false, true},
		{"PUT", "/bucket/x?uploadId=x&partNumber=1", false, true},
		{"POST", "/bucket/x?uploadId=x", false, false},
		{"POST", "/bucket/x?uploadId=x", true, false},
		{"PUT", "/upload/x?upload_id=x", false, false},
	} {
		r := httptest.NewRequest(c.method, "http://127.0.0.1"+c.target, nil)
		if c.header {
			r.Header.Set("X-Goog-If-Generation-Match", "0")
		}
		w := httptest.NewRecorder()
		g.HTTP(http.NotFoundHandler()).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, at(1))))
		if may := w.Code != http.StatusForbidden; may != c.may {
			t.Errorf("%s %s, header %t: %d, want it to pass: %t", c.method, c.target, c.header, w.Code, c.may)
		}
	}
}
