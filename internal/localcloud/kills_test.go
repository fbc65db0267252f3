package localcloud_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/localcloudtest"
)

var killRounds = flag.Int("kills.rounds", 3, "how often TestKills kills the cloud")

// killDir makes the test binary a cloud on the folder it names, to be killed.
const killDir = "EXPORTD_TEST_KILL_DIR"

const killIndexes = `{"indexes":[{"collectionGroup":"left","queryScope":"COLLECTION","fields":[{"fieldPath":"even","order":"ASCENDING"},{"fieldPath":"n","order":"DESCENDING"}]}]}`

func serveAndBeKilled(dir string) error {
	c, err := localcloud.Start(context.Background(), localcloud.Config{DataDir: dir, IndexesJSON: []byte(killIndexes), Lax: true})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(c.Endpoints()); err != nil {
		return err
	}
	return c.Wait()
}

// acked is what was acknowledged, by kind; numbers are never used twice.
type acked struct {
	mu      sync.Mutex
	next    int
	commits []int
	objects []int
	written []version
	parts   []*partsUpload
	publish map[string]int // message ids
	some    chan struct{}  // told of each
}

// version is a write to the one object that is written again and again: a generation, or 0 for a deletion.
type version struct {
	number     int
	generation int64
}

func (a *acked) number() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	return a.next
}

func (a *acked) note(ctx context.Context, f func()) {
	a.mu.Lock()
	f()
	a.mu.Unlock()
	select {
	case a.some <- struct{}{}:
	case <-ctx.Done():
	}
}

// A cloud that is killed at any moment, again and again, has kept every commit, message and object that it
// acknowledged; there is no half commit, and indexes agree with documents.
func TestKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := &acked{publish: map[string]int{}, some: make(chan struct{})}
	r := rand.New(rand.NewPCG(16, 3))
	commits, objects, versions, parts := 0, 0, 0, 0 // verified
	for round := range *killRounds {
		v := startVictim(t, dir)
		v.verify(t, a.commits[commits:], a.objects[objects:])
		v.verifyVersions(t, a.written[versions:])
		v.verifyParts(t, a.parts[parts:])
		parts = len(a.parts)
		commits, objects, versions = len(a.commits), len(a.objects), max(0, len(a.written)-2)
		v.work(t, a, 20+r.IntN(60))
		if round%10 == 9 || round == *killRounds-1 {
			checkIndexes(t, dir)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	v := startVictim(t, dir)
	v.verify(t, a.commits, a.objects)
	v.verifyVersions(t, a.written)
	v.verifyParts(t, a.parts)
	v.drain(t, a)
	v.kill()
	completed := 0
	for _, u := range a.parts {
		if u.etag != "" {
			completed++
		}
	}
	if completed == 0 && *killRounds >= 20 { // of few rounds, each may end before
		t.Error("no upload in parts was completed")
	}
	t.Logf("%d kills: %d commits, %d messages, %d objects, %d uploads in parts (%d completed) and %d changes of one with versions were acknowledged", *killRounds, len(a.commits), len(a.publish), len(a.objects), len(a.parts), completed, len(a.written))
}

func checkIndexes(t *testing.T, dir string) {
	t.Helper()
	s, err := firestoreserver.Open(firestoreserver.Options{Dir: filepath.Join(dir, "firestore"), IndexesJSON: []byte(killIndexes)})
	if err != nil {
		t.Fatal(err)
	}
	if docs, err := s.Verify(); err != nil || docs%2 != 0 {
		t.Errorf("Verify() = %d, %v; want an even number: documents come in pairs", docs, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// victim is a cloud in a process of its own, with clients.
type victim struct {
	cmd       *exec.Cmd
	firestore *firestore.Client
	pubsub    *pubsub.Client
	storage   *storage.Client
	xml       string // where the XML API is
}

const killProject = localcloudtest.Project

func startVictim(t *testing.T, dir string) *victim {
	t.Helper()
	v := &victim{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	v.cmd.Env = append(os.Environ(), killDir+"="+dir)
	v.cmd.Stderr = os.Stderr
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the cloud did not start: %v", err)
	}
	var e localcloud.Endpoints
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	v.xml = "http://" + e.Storage
	ctx := context.Background() // clients live until the kill
	var errs [3]error
	v.firestore, errs[0] = firestore.NewClient(ctx, killProject, localcloud.GRPCOptions(e.Firestore)...)
	v.pubsub, errs[1] = pubsub.NewClient(ctx, killProject, localcloud.GRPCOptions(e.PubSub)...)
	v.storage, errs[2] = storage.NewClient(ctx, localcloud.StorageOptions(e.Storage)...)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *victim) kill() {
	_ = v.cmd.Process.Kill() // SIGKILL
	_ = v.cmd.Wait()         // says that it was killed
	_ = errors.Join(v.firestore.Close(), v.pubsub.Close(), v.storage.Close())
}

const (
	killTopic = "projects/" + killProject + "/topics/numbers"
	killSub   = "projects/" + killProject + "/subscriptions/numbers"
)

func (v *victim) prepare(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	_, err := v.pubsub.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: killTopic})
	if status.Code(err) == codes.AlreadyExists {
		return
	}
	_, subErr := v.pubsub.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{Name: killSub, Topic: killTopic, AckDeadlineSeconds: 600})
	versions := v.storage.Bucket("versions").Create(ctx, killProject, &storage.BucketAttrs{VersioningEnabled: true})
	if err := errors.Join(err, subErr, v.storage.Bucket("numbers").Create(ctx, killProject, nil), versions); err != nil {
		t.Fatal(err)
	}
}

// work lets clients write until so many writes are acknowledged, and kills the cloud in the middle of others.
func (v *victim) work(t *testing.T, a *acked, writes int) {
	t.Helper()
	v.prepare(t)
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for _, write := range []func(context.Context, *acked) error{v.commit, v.commit, v.publish, v.publish, v.upload, v.upload, v.overwrite, v.uploadParts, v.uploadParts} {
		workers.Go(func() {
			for write(ctx, a) == nil {
			}
		})
	}
	for range writes {
		<-a.some
	}
	_ = v.cmd.Process.Kill()
	cancel()
	workers.Wait()
	v.kill()
}

func (v *victim) commit(ctx context.Context, a *acked) error {
	n := a.number()
	err := v.firestore.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		for _, side := range []string{"left", "right"} {
			if err := tx.Set(v.firestore.Collection(side).Doc(strconv.Itoa(n)), map[string]any{"n": n, "even": n%2 == 0, "tags": []int{n % 7, n % 5}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		a.note(ctx, func() { a.commits = append(a.commits, n) })
	}
	return err
}

func (v *victim) publish(ctx context.Context, a *acked) error {
	n := a.number()
	resp, err := v.pubsub.TopicAdminClient.Publish(ctx, &pubsubpb.PublishRequest{Topic: killTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(strconv.Itoa(n))}}})
	if err == nil {
		a.note(ctx, func() { a.publish[resp.GetMessageIds()[0]] = n })
	}
	return err
}

func (v *victim) upload(ctx context.Context, a *acked) error {
	n := a.number()
	w := v.storage.Bucket("numbers").Object(strconv.Itoa(n)).NewWriter(ctx)
	w.ChunkSize = 256 << 10
	_, _ = w.Write(numbered(n)) // the error shows in Close
	err := w.Close()
	if err == nil {
		a.note(ctx, func() { a.objects = append(a.objects, n) })
	}
	return err
}

// deletedOf is of how many versions one is deleted while it is live.
const deletedOf = 7

// overwrite writes the next version of an object, and may delete it. One client does, so that the order is
// known.
func (v *victim) overwrite(ctx context.Context, a *acked) error {
	n := a.number()
	o := v.storage.Bucket("versions").Object("again").Retryer(storage.WithPolicy(storage.RetryNever))
	w := o.NewWriter(ctx)
	w.ChunkSize = 256 << 10
	_, _ = w.Write(numbered(n)) // the error shows in Close
	if err := w.Close(); err != nil {
		return err
	}
	a.note(ctx, func() { a.written = append(a.written, version{n, w.Attrs().Generation}) })
	if n%deletedOf != 0 {
		return nil
	}
	err := o.Delete(ctx)
	if err == nil {
		a.note(ctx, func() { a.written = append(a.written, version{n, 0}) })
	}
	return err
}

// verifyVersions looks for each version that was acknowledged: with its bytes, in the order of generations,
// the last one live unless it was deleted. What was not acknowledged may be between.
func (v *victim) verifyVersions(t *testing.T, written []version) {
	t.Helper()
	ctx, bucket := t.Context(), v.storage.Bucket("versions")
	if len(written) == 0 {
		return
	}
	listed := map[int64]*storage.ObjectAttrs{}
	var last *storage.ObjectAttrs
	for it := bucket.Objects(ctx, &storage.Query{Versions: true}); ; {
		attrs, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && (last.Generation >= attrs.Generation || last.Deleted.IsZero()) {
			t.Errorf("version %d, which ended at %v, is listed before %d", last.Generation, last.Deleted, attrs.Generation)
		}
		last, listed[attrs.Generation] = attrs, attrs
	}
	for _, w := range written {
		if w.generation == 0 {
			continue
		}
		data, attrs := numbered(w.number), listed[w.generation]
		if attrs == nil || attrs.CRC32C != crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) {
			t.Errorf("acknowledged version %d of %d bytes is %+v", w.generation, len(data), attrs)
			continue
		}
		r, err := bucket.Object("again").Generation(w.generation).NewReader(ctx)
		if err != nil {
			t.Errorf("acknowledged version %d: %v", w.generation, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("acknowledged version %d has %d bytes, %v, want %d", w.generation, len(got), err, len(data))
		}
		_ = r.Close() // read to its end
	}
	final := written[len(written)-1]
	_, err := bucket.Object("again").Attrs(ctx)
	if live := err == nil; live != last.Deleted.IsZero() || !live && !errors.Is(err, storage.ErrObjectNotExist) {
		t.Errorf("the live one: %v; the last version ended at %v", err, last.Deleted)
	}
	if last.Generation == final.generation && final.number%deletedOf != 0 && err != nil {
		t.Errorf("version %d was the last to be written, and was not deleted: %v", last.Generation, err)
	}
	if final.generation == 0 && last.Generation == written[len(written)-2].generation && err == nil {
		t.Errorf("version %d is live, and its deletion was acknowledged", last.Generation)
	}
}

// numbered is the content of an object: small, in a file, in two chunks.
func numbered(n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%08d", n), []int{1, 5_000, 50_000}[n%3])
}

// verify looks for what was acknowledged.
func (v *victim) verify(t *testing.T, commits, objects []int) {
	t.Helper()
	ctx := t.Context()
	var refs []*firestore.DocumentRef
	for _, n := range commits {
		refs = append(refs, v.firestore.Collection("left").Doc(strconv.Itoa(n)), v.firestore.Collection("right").Doc(strconv.Itoa(n)))
	}
	docs, err := v.firestore.GetAll(ctx, refs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range docs {
		if n, err := d.DataAt("n"); err != nil || n != int64(commits[i/2]) {
			t.Errorf("acknowledged document %s holds %v: %v", d.Ref.Path, n, err)
		}
	}
	counts := map[string]int64{}
	for _, side := range []string{"left", "right"} {
		got, err := v.firestore.Collection(side).NewAggregationQuery().WithCount("n").Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		counts[side] = got["n"].(*firestorepb.Value).GetIntegerValue()
	}
	if counts["left"] != counts["right"] || counts["left"] < int64(len(commits)) {
		t.Errorf("%v documents, of %d acknowledged pairs", counts, len(commits))
	}
	for _, n := range objects {
		attrs, err := v.storage.Bucket("numbers").Object(strconv.Itoa(n)).Attrs(ctx)
		if err != nil {
			t.Errorf("acknowledged object %d: %v", n, err)
			continue
		}
		if want := crc32.Checksum(numbered(n), crc32.MakeTable(crc32.Castagnoli)); attrs.CRC32C != want || attrs.Size != int64(len(numbered(n))) {
			t.Errorf("object %d has %d bytes with the sum %08x, want %d with %08x", n, attrs.Size, attrs.CRC32C, len(numbered(n)), want)
		}
	}
}

// drain takes all messages and looks for those that were acknowledged.
func (v *victim) drain(t *testing.T, a *acked) {
	t.Helper()
	missing := map[string]int{}
	for id, n := range a.publish {
		missing[id] = n
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a pull waits where there is nothing
	defer cancel()
	for len(missing) > 0 {
		resp, err := v.pubsub.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: killSub, MaxMessages: 1000})
		if err != nil {
			t.Errorf("%d acknowledged messages are lost: %v: %v", len(missing), missing, err)
			return
		}
		for _, m := range resp.GetReceivedMessages() {
			id := m.GetMessage().GetMessageId()
			if n, ok := missing[id]; ok && string(m.GetMessage().GetData()) != strconv.Itoa(n) {
				t.Errorf("message %s holds %q, want %d", id, m.GetMessage().GetData(), n)
			}
			delete(missing, id)
		}
	}
}
