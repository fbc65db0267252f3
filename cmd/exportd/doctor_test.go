package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"exportd/deployments"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/doctor"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/objectstore"
	"exportd/internal/service"
	"exportd/jobs"
)

// patient is a cloud that has all that production needs, and an examiner of it.
type patient struct {
	*localcloudtest.Cloud
	d *examiner
}

// week is what point-in-time recovery keeps.
const week = 7 * 24 * time.Hour

// newPatient sets a cloud up as production's: setup has run, a key is sealed, a worker is the rescuer, and a
// public host answers callbacks.
func newPatient(t *testing.T, changes ...func(*localcloud.Config)) *patient {
	t.Helper()
	cloud := localcloudtest.Start(t, append([]func(*localcloud.Config){func(c *localcloud.Config) { c.SnapshotRetention = week }}, changes...)...)
	e := cloud.Endpoints()
	set := map[string]string{
		"FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
		"EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_BUCKET_LOCATION": "EU", "EXPORTD_PITR": "true",
		"EXPORTD_KEYSET_FILE": filepath.Join(t.TempDir(), "keyset.json"), "EXPORTD_CALLBACK_OWN_HOSTS": "exports.example.com",
	}
	cfg, err := config.Load(func(name string) string { return set[name] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Env = "production" // with emulators, which Load refuses
	c, err := service.Open(t.Context(), cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1"}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	d, err := newDoctor(t.Context(), cfg, c, doctorFlags{dataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	p := &patient{cloud, d}
	p.answerCallbacks(t)
	if ok, err := c.Store.HoldPartition(t.Context(), 0, "worker-1"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	return p
}

// answerCallbacks makes a public name and address lead to a TLS server here; all checks before the connection
// are production's.
func (p *patient) answerCallbacks(t *testing.T) {
	t.Helper()
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(receiver.Close)
	p.d.roots = x509.NewCertPool()
	p.d.roots.AddCert(receiver.Certificate())
	p.d.cfg.CallbackProbeURL = "https://example.com/"
	p.d.guard.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
	}
	p.d.guard.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, receiver.Listener.Addr().String())
	}
}

func (p *patient) examine(t *testing.T) []doctor.Finding {
	t.Helper()
	return doctor.Examine(t.Context(), doctorWithin, p.d.checks())
}

// lost is one thing that a cloud lacks, and how doctor tells it.
type lost struct {
	what  string
	start func(*localcloud.Config) // before it starts, or
	harm  func(*testing.T, *patient)
	// name begins the name of the one line that is bad, text is in what was found, remedy in the command.
	name, text, remedy string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func topicName(lane string) string {
	return "projects/" + localcloudtest.Project + "/topics/exportd-" + lane
}

func subscriptionName(lane string) string {
	return "projects/" + localcloudtest.Project + "/subscriptions/exportd-" + lane
}

// withoutIndex drops an index from the file, withoutTTL the TTL policies.
func withoutIndex(first ...string) func(*localcloud.Config) {
	return func(c *localcloud.Config) {
		var file map[string]json.RawMessage
		var all []struct {
			CollectionGroup string          `json:"collectionGroup"`
			QueryScope      string          `json:"queryScope"`
			Fields          json.RawMessage `json:"fields"`
		}
		if json.Unmarshal(deployments.Indexes, &file) != nil || json.Unmarshal(file["indexes"], &all) != nil {
			panic("the index file")
		}
		kept := all[:0]
		for _, x := range all {
			if x.CollectionGroup != first[0] || !slices.ContainsFunc(first[1:], func(f string) bool { return strings.Contains(string(x.Fields), `"`+f+`"`) }) {
				kept = append(kept, x)
			}
		}
		file["indexes"], _ = json.Marshal(kept)
		c.IndexesJSON, _ = json.Marshal(file)
	}
}

func withoutTTL(c *localcloud.Config) {
	c.IndexesJSON = bytes.Replace(deployments.Indexes, []byte(`"fieldPath": "expiresAt", "ttl": true`), []byte(`"fieldPath": "expiresAt", "ttl": false`), 1)
}

func updateSubscription(lane string, change *pubsubpb.Subscription, field string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		change.Name = subscriptionName(lane)
		_, err := p.PubSub.SubscriptionAdminClient.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{
			Subscription: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{field}},
		})
		must(t, err)
	}
}

func updateBucket(change storage.BucketAttrsToUpdate) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		_, err := p.Storage.Bucket(p.d.cfg.Bucket).Update(t.Context(), change)
		must(t, err)
	}
}

// relocate has the configuration want the bucket elsewhere.
func relocate(t *testing.T, p *patient) {
	t.Helper()
	cfg := p.d.cfg
	elsewhere, err := objectstore.Open(t.Context(), objectstore.Config{
		Bucket: cfg.Bucket, EmulatorHost: cfg.StorageHost, ProjectID: cfg.ProjectID, RetentionDays: 8, Location: "asia",
	})
	must(t, err)
	t.Cleanup(func() { _ = elsewhere.Close() })
	must(t, p.d.c.Objects.Close())
	p.d.c.Objects = elsewhere
}

// TestDoctor: on a cloud that lacks one thing, one line is bad, and says what to do.
func TestDoctor(t *testing.T) {
	t.Parallel()
	for _, l := range slices.Concat(lostOfFirestore, lostOfPubSub, lostOfStorage, lostOfRest) {
		t.Run(l.what, func(t *testing.T) {
			t.Parallel()
			var changes []func(*localcloud.Config)
			if l.start != nil {
				changes = append(changes, l.start)
			}
			p := newPatient(t, changes...)
			if l.harm != nil {
				l.harm(t, p)
			}
			fs := p.examine(t)
			var bad []doctor.Finding
			for _, f := range fs {
				if f.State == doctor.Bad {
					bad = append(bad, f)
				}
			}
			if l.name == "" {
				if len(bad) > 0 {
					t.Errorf("of a healthy cloud: %+v", bad)
				}
				var table bytes.Buffer
				must(t, doctor.WriteTable(&table, fs))
				t.Logf("the table:\n%s", &table)
				return
			}
			if len(bad) != 1 || !strings.HasPrefix(bad[0].Name, l.name) || !strings.Contains(bad[0].Found, l.text) || !strings.Contains(bad[0].Remedy, l.remedy) {
				t.Fatalf("bad: %+v\nwant the one line %s, %q, %q", bad, l.name, l.text, l.remedy)
			}
			if strings.Contains(bad[0].Found, ": "+jobs.ErrUnavailable.Error()+" (") { // and nothing more but the address
				t.Errorf("%s: what stays as it is is called temporary", bad[0].Found)
			}
			t.Logf("%s | %s: %s -> %s", l.what, bad[0].Name, bad[0].Found, bad[0].Remedy)
		})
	}
}

var lostOfFirestore = []lost{
	{what: "nothing is missing"},
	{what: "an index of users", start: withoutIndex("VipUsers", "birthdayMonth"), name: "index VipUsers(", text: "no index serves", remedy: "gcloud firestore indexes composite create --collection-group=VipUsers"},
	{what: "an index of parts over all jobs", start: withoutIndex("parts", "wakeAt"), name: "index parts(", text: "no index serves", remedy: "--query-scope=collection-group"},
	{what: "a TTL policy", start: withoutTTL, name: "TTL ", text: "no TTL policy", remedy: "gcloud firestore fields ttls update expiresAt"},
	{what: "point-in-time recovery", start: func(c *localcloud.Config) { c.SnapshotRetention = time.Hour }, name: "point-in-time recovery", text: "off, and EXPORTD_PITR=true", remedy: "--enable-pitr"},
	{what: "a rescuer", harm: func(t *testing.T, p *patient) {
		must(t, p.d.c.Store.LeavePartition(t.Context(), 0, "worker-1"))
	}, name: "rescuer", text: "no worker rescues 1 of 1", remedy: "exportd worker"},
	{what: "the keyset of the keys", harm: func(t *testing.T, p *patient) {
		p.d.cfg.KeysetFile = filepath.Join(t.TempDir(), "other.json")
		_, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: p.d.cfg.KeysetFile, Make: true})
		must(t, err)
	}, name: "keyset", text: "1 of 1 sealed keys do not open", remedy: "EXPORTD_KEYSET_FILE"},
	{what: "a keyset", harm: func(t *testing.T, p *patient) { p.d.cfg.KeysetFile = filepath.Join(t.TempDir(), "none.json") }, name: "keyset", text: "no such file", remedy: "exportd setup"},
	{what: "the seal of a key", harm: func(t *testing.T, p *patient) {
		_, err := p.Firestore.Collection(apikey.Collection).Doc("key_by_hand").Set(t.Context(), map[string]any{"orgId": "org1", "secret": "0123456789abcdef"})
		must(t, err)
	}, name: "plain secrets", text: "1 of 2 keys", remedy: "exportctl keys rotate"},
}

var lostOfPubSub = []lost{
	{what: "a subscription", harm: func(t *testing.T, p *patient) {
		must(t, p.PubSub.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: subscriptionName("dead")}))
	}, name: "subscription exportd-dead", text: "is missing", remedy: "exportd setup"},
	{what: "a subscription's topic, made again", harm: func(t *testing.T, p *patient) {
		must(t, p.PubSub.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: topicName("parts")}))
		_, err := p.PubSub.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName("parts")})
		must(t, err)
	}, name: "subscription exportd-parts", text: "bound to a topic that was deleted", remedy: "exportd setup"},
	{what: "the ack deadline", harm: updateSubscription("exports", &pubsubpb.Subscription{AckDeadlineSeconds: 10}, "ack_deadline_seconds"), name: "subscription exportd-exports", text: "ack deadline of 10 s", remedy: "exportd setup"},
	{what: "retention of messages", harm: updateSubscription("exports", &pubsubpb.Subscription{MessageRetentionDuration: durationpb.New(time.Hour)}, "message_retention_duration"), name: "subscription exportd-exports", text: "keeps messages for 1h", remedy: "exportd setup"},
	{what: "a subscription that stays", harm: updateSubscription("callbacks", &pubsubpb.Subscription{}, "expiration_policy"), name: "subscription exportd-callbacks", text: "is deleted when nobody pulls", remedy: "exportd setup"},
}

var lostOfStorage = []lost{
	{what: "the bucket's lifecycle", harm: updateBucket(storage.BucketAttrsToUpdate{Lifecycle: &storage.Lifecycle{}}), name: "bucket lifecycle", text: "nothing deletes exports/ after 8 days", remedy: "exportd setup"},
	{what: "deletion that deletes", harm: updateBucket(storage.BucketAttrsToUpdate{SoftDeletePolicy: &storage.SoftDeletePolicy{RetentionDuration: week}}), name: "bucket soft delete", text: "7 days", remedy: "exportd setup"},
	{what: "uniform access", harm: updateBucket(storage.BucketAttrsToUpdate{UniformBucketLevelAccess: &storage.UniformBucketLevelAccess{}}), name: "bucket uniform access", text: "off", remedy: "exportd setup"},
	{what: "prevention of public access", harm: updateBucket(storage.BucketAttrsToUpdate{PublicAccessPrevention: storage.PublicAccessPreventionInherited}), name: "bucket public access", text: "allUsers", remedy: "exportd setup"},
	{what: "the location", harm: relocate, name: "bucket location", text: "EU: not in ASIA", remedy: "EXPORTD_BUCKET"},
	{what: "a signer", harm: func(t *testing.T, p *patient) {
		must(t, p.Faults().Set(fault.Config{Rules: map[string]fault.Rule{"Storage/SignBlob": {ErrorRate: 1}}}))
	}, name: "signed URL", text: "sign URL", remedy: "iam.serviceAccountTokenCreator"},
}

var lostOfRest = []lost{
	{what: "a clock that is right", harm: func(_ *testing.T, p *patient) {
		p.d.now = func() time.Time { return time.Now().Add(time.Hour) }
	}, name: "clock", text: "ahead of Google's", remedy: "clock"},
	{what: "a wall before this machine", harm: func(_ *testing.T, p *patient) {
		p.d.guard.Dev.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}, name: "callbacks stay out", text: "127.0.0.1", remedy: "EXPORTD_CALLBACK_ALLOW_CIDRS"},
	{what: "a way out for callbacks", harm: func(_ *testing.T, p *patient) {
		p.d.guard.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, fmt.Errorf("no route to host") }
	}, name: "callbacks get out", text: "no route to host", remedy: "EXPORTD_CALLBACK_PROBE_URL"},
	{what: "a name server for callbacks", harm: func(_ *testing.T, p *patient) {
		p.d.guard.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "server misbehaving"}
		}
	}, name: "callbacks get out", text: "server misbehaving", remedy: "DNS server"},
	{what: "Pub/Sub", harm: func(_ *testing.T, p *patient) { p.d.cfg.PubSubHost = "127.0.0.1:1" }, name: "Pub/Sub", text: "127.0.0.1:1", remedy: "PUBSUB_EMULATOR_HOST"},
}

// TestDoctorWarns: a setting that is dangerous and allowed is one warning, and nothing is bad.
func TestDoctorWarns(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for _, on := range []bool{false, true} {
		p.d.cfg.PrivilegedV1 = on
		fs := p.examine(t)
		i := slices.IndexFunc(fs, func(f doctor.Finding) bool { return f.State == doctor.Warning })
		if doctor.Count(fs, doctor.Bad) > 0 || (i >= 0) != on || doctor.Count(fs, doctor.Warning) > 1 {
			t.Fatalf("EXPORTD_PRIVILEGED_V1=%t: %+v", on, fs)
		}
		if on && (!strings.Contains(fs[i].Found, "EXPORTD_PRIVILEGED_V1") || !strings.Contains(fs[i].Remedy, "EXPORTD_PRIVILEGED_V1=false")) {
			t.Errorf("the warning is %+v", fs[i])
		}
	}
}

// TestDoctorTopic: a topic that is gone takes its subscription along: two lines, one remedy.
func TestDoctorTopic(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	must(t, p.PubSub.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: topicName("exports")}))
	bad := map[string]string{}
	for _, f := range p.examine(t) {
		if f.State == doctor.Bad {
			bad[f.Name] = f.Remedy
		}
	}
	if len(bad) != 2 || bad["topic exportd-exports"] != "exportd setup" || bad["subscription exportd-exports"] != "exportd setup" {
		t.Errorf("bad: %v", bad)
	}
	if _, err := p.d.c.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fs := p.examine(t); doctor.Count(fs, doctor.Bad) > 0 {
		t.Errorf("after setup: %+v", fs)
	}
}
