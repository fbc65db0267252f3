package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/localcloud"
)

const permissions = "../../deployments/permissions.yaml"

// usage is what the control address tells of one account.
type usage struct {
	Used   map[string]int
	Unused []string
	Denied []struct {
		Method, Permission string
		Count              int
	}
}

// TestPermissions: setup, doctor, api and worker, each with exactly what deployments grant it, do all of
// their work; nothing asks for more, and nothing granted is of no use.
func TestPermissions(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, hosts := e2etest.Emulators(t, exportd, filepath.Join(folder, "cloud"), "--control", "127.0.0.1:0", "--roles", permissions)
	env := append([]string{"EXPORTD_KEYSET_FILE=" + filepath.Join(folder, "keyset.json"), "EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=3"}, callbackSettings...)
	// The first makes everything; the second finds it there, but files are to live longer, a topic was
	// deleted and a subscription changed.
	printed := e2etest.Setup(t, exportd, hosts.As(t, "setup"), env, "--platform-key", "org_permissions")
	damageQueues(t, hosts)
	e2etest.Setup(t, exportd, hosts.As(t, "setup"), append(env, "EXPORTD_FILE_DAYS=8"))
	diagnose := func() {
		t.Helper()
		p := e2etest.Start(t, append(hosts.As(t, "doctor").Env(), append(env, "EXPORTD_FILE_DAYS=8")...), exportd, "doctor")
		if code := p.Wait(t, startFails); code != 0 {
			t.Errorf("exportd doctor: exit code %d\n%s%s", code, p.Stdout(), p.Stderr())
		}
	}
	diagnose()
	sizes := e2etest.Sizes{Users: 60, Messages: 500}
	summary, err := e2etest.LoadDemo(t.Context(), hosts, sizes)
	if err != nil {
		t.Fatal(err)
	}
	api, url := e2etest.API(t, exportd, hosts.As(t, "api"), env...)
	worker := e2etest.Worker(t, exportd, hosts.As(t, "worker"), env...)
	s := &e2etest.Stack{Facts: e2etest.Facts{APIURL: url, Summary: summary, Hosts: hosts}, Sizes: sizes, Process: api}
	everyRoute(t, s)
	ofKeys(t, s, printed)
	diagnose()
	for _, p := range []*e2etest.Process{worker, api} {
		p.Signal(syscall.SIGTERM)
		if code := p.Wait(t, stopWithin); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.Stderr())
		}
	}
	for account, u := range usages(t, hosts) {
		for _, d := range u.Denied {
			t.Errorf("%s: %s is refused %d times for want of %s", account, d.Method, d.Count, d.Permission)
		}
		for _, p := range u.Unused {
			t.Errorf("%s: nothing used %s", account, p)
		}
		t.Logf("%s used %v", account, u.Used)
	}
}

// damageQueues leaves a subscription of a topic that was deleted, and one of other settings.
func damageQueues(t *testing.T, hosts e2etest.Hosts) {
	t.Helper()
	client, err := pubsub.NewClient(t.Context(), e2etest.Project, localcloud.GRPCOptions(hosts.PubSub)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const project = "projects/" + e2etest.Project
	if err := client.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: project + "/topics/exportd-parts"}); err != nil {
		t.Fatal(err)
	}
	_, err = client.SubscriptionAdminClient.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{
		Subscription: &pubsubpb.Subscription{Name: project + "/subscriptions/exportd-exports", AckDeadlineSeconds: 600},
		UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func usages(t *testing.T, hosts e2etest.Hosts) (out map[string]usage) {
	t.Helper()
	r, err := e2etest.Send(t.Context(), http.MethodGet, "http://"+hosts.Control+"/permissions", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Want(t, http.StatusOK).JSON(t, &out)
	if len(out) != 4 {
		t.Fatalf("the control address tells of %d accounts: %s", len(out), r.Body)
	}
	return out
}

// everyRoute goes through the API as callers and operators do: lists, exports of one part and of many, a
// callback, streams, cancel, rerun, delete.
func everyRoute(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	c, ops := s.Caller(), s.Operator()
	c.ListAll(t, "vip-users", s.Users())
	c.ListAll(t, "vip-messages", s.Messages())
	for _, path := range []string{"/workspaces", "/limits", "/exports"} {
		c.Get(t, path, nil).Want(t, http.StatusOK)
	}
	c.Get(t, "/vip-labels/overview", s.Messages()).Want(t, http.StatusOK)
	if status, checks, err := s.Ready(t.Context()); err != nil || status != http.StatusOK {
		t.Errorf("readyz: %d, %v, %v", status, checks, err)
	}
	called := make(chan struct{}, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- struct{}{}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(receiver.Close)
	one := c.Submit(t, "vip-users", s.Users("callbackUrl", receiver.URL), "Cache-Control", "no-cache")
	c.Await(t, one, jobWithin)
	awaitCallback(t, c, one, "delivered")
	<-called
	reason := func() *strings.Reader { return strings.NewReader(`{"reason": "permissions"}`) }
	ops.Do(t, http.MethodPost, "/ops/jobs/"+one+"/callback/redeliver", nil, reason()).Want(t, http.StatusAccepted)
	<-called
	if many, _ := c.Export(t, "vip-messages", s.Messages()); many.Progress.PartsTotal < 3 {
		t.Errorf("%d parts, want many", many.Progress.PartsTotal)
	}
	c.Get(t, "/vip-messages/export", s.Messages("contentType", "text"), "Prefer", "wait=20", "Idempotency-Key", "permissions-1").Want(t, http.StatusOK)

	// A job that is followed, canceled in the middle of its parts, run again and deleted; and one whose parts
	// are swept.
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 50}}}`)
	id := c.Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache")
	followed(t, c, id)
	c.Do(t, http.MethodPost, "/exports/"+id+"/cancel", nil, nil)
	s.Faults(t, "{}")
	if j := c.Await(t, id, jobWithin); j.State != "canceled" {
		t.Errorf("the job is %s, want canceled", j.State)
	}
	ops.Do(t, http.MethodPost, "/ops/jobs/"+id+"/rerun", nil, reason()).Want(t, http.StatusAccepted)
	if j := c.Await(t, id, jobWithin); j.State != "succeeded" {
		t.Errorf("the job is %s after its rerun: %+v", j.State, j.Error)
	}
	c.Do(t, http.MethodDelete, "/exports/"+id, nil, nil).Want(t, http.StatusNoContent)
	swept(t, s)
	goneWorker(t, s.Hosts)
	for _, path := range []string{"/ops/jobs", "/ops/stats", "/ops/receivers", "/ops/batches"} {
		ops.Get(t, path, nil).Want(t, http.StatusOK)
	}
	ops.Get(t, "/ops/stats", url.Values{"since": {"1h"}}).Want(t, http.StatusOK)
	for _, verb := range []string{"pause", "resume"} {
		ops.Do(t, http.MethodPost, "/ops/queues/exports/"+verb, nil, reason()).Want(t, http.StatusOK)
	}
}

// swept: what a canceled job has left in storage goes.
func swept(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 50}}}`)
	id := s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache")
	e2etest.Until(t, jobWithin, "rows of the job", func() bool { return s.Caller().Job(t, id, "").Progress.RowsDone > 0 })
	s.Caller().Do(t, http.MethodPost, "/exports/"+id+"/cancel", nil, nil)
	s.Faults(t, "{}")
	e2etest.Until(t, jobWithin, "the worker to sweep", func() bool { return usages(t, s.Hosts)["worker"].Used["storage.objects.list"] > 0 })
}

// goneWorker leaves the sign of life of a worker that was killed hours ago, which statistics take away.
func goneWorker(t *testing.T, hosts e2etest.Hosts) {
	t.Helper()
	db := hosts.OpenFirestore(t)
	gone := map[string]any{"kind": "worker", "owner": "gone", "until": time.Now().Add(-3 * time.Hour)}
	if _, err := db.Collection("ExportLeases").Doc("worker-gone").Set(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
}

// followed reads the events of a job until one tells of finished rows.
func followed(t *testing.T, c *e2etest.Client, id string) {
	t.Helper()
	e2etest.Until(t, jobWithin, "rows of the job", func() bool { return c.Job(t, id, "").Progress.RowsDone > 0 })
	date := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+"/exports/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"x-api-key": c.ID, "x-date": date, "x-signature": e2etest.Sign(c.Secret, date)} {
		req.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("events: status %d, %q, %v", res.StatusCode, line, err)
	}
}

// ofKeys makes, uses, rotates and revokes a key with the platform key that setup printed.
func ofKeys(t *testing.T, s *e2etest.Stack, printed string) {
	t.Helper()
	found := regexp.MustCompile(`x-api-key: (\S+)\s+secret:\s+(\S+)`).FindStringSubmatch(printed)
	if found == nil {
		t.Fatalf("setup --platform-key printed %q", printed)
	}
	admin := &e2etest.Client{URL: s.APIURL, ID: found[1], Secret: found[2], V2: true}
	var made struct {
		Key    struct{ KeyID string }
		Secret string
	}
	admin.Do(t, http.MethodPost, "/admin/keys", nil, strings.NewReader(`{"orgId": "`+s.OrgID+`", "name": "p", "scopes": ["read"], "reason": "permissions"}`)).
		Want(t, http.StatusCreated).JSON(t, &made)
	user := &e2etest.Client{URL: s.APIURL, ID: made.Key.KeyID, Secret: made.Secret}
	user.Get(t, "/workspaces", nil).Want(t, http.StatusOK)
	admin.Do(t, http.MethodPost, "/admin/keys/"+user.ID+"/rotate", nil, strings.NewReader(`{"reason": "permissions"}`)).Want(t, http.StatusOK)
	admin.Do(t, http.MethodPost, "/admin/keys/"+user.ID+"/revoke", nil, strings.NewReader(`{"reason": "permissions"}`)).Want(t, http.StatusOK)
	admin.Get(t, "/admin/keys", nil).Want(t, http.StatusOK)
}

// TestPermissionsRefusal: one permission less, and the process that needs it says so, names it in the counts,
// and does not do the work. All others: internal/localcloud/access.
func TestPermissionsRefusal(t *testing.T) {
	t.Parallel()
	roles := filepath.Join(t.TempDir(), "roles.yaml")
	write(t, roles, `accounts: {setup: [pubsub.topics.create, pubsub.topics.attachSubscription, storage.buckets.get, storage.buckets.create]}`)
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0", "--roles", roles)
	p := e2etest.Start(t, hosts.As(t, "setup").Env(), exportd, "setup")
	if code := p.Wait(t, startFails); code != 1 || !strings.Contains(p.Stderr(), "PermissionDenied") {
		t.Errorf("exit code %d, want 1 with PermissionDenied:\n%s", code, p.Stderr())
	}
	r, err := e2etest.Send(t.Context(), http.MethodGet, "http://"+hosts.Control+"/permissions", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]usage
	if err := json.Unmarshal(r.Body, &out); err != nil {
		t.Fatal(err)
	}
	denied := out["setup"].Denied
	if len(denied) != 1 || denied[0].Method != "Subscriber/CreateSubscription" || denied[0].Permission != "pubsub.subscriptions.create" {
		t.Errorf("denied = %+v, want CreateSubscription for want of pubsub.subscriptions.create", denied)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
