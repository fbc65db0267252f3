package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud"
)

const (
	alonePage    = 50 // documents of a page
	alonePages   = 20
	aloneCounts  = 10
	aloneNotices = 100      // messages, each published when the one before has come
	aloneUpload  = 64 << 20 // bytes of an upload
	aloneProject = "bench-alone"
)

// emulated is a Firestore and a Pub/Sub that are measured.
type emulated struct {
	name      string
	firestore firestorepb.FirestoreClient
	publisher pubsubpb.PublisherClient
	pull      pubsubpb.SubscriberClient
	close     func() error
}

// cloudLines is line l: the embedded cloud alone, against Google's emulators where they are installed.
func (s *suite) cloudLines(ctx context.Context) (_ []line, err error) {
	binary, err := s.exportd(ctx)
	if err != nil {
		return nil, err
	}
	temp, err := s.folder()
	if err != nil {
		return nil, err
	}
	p, hosts, err := startEmulators(ctx, binary, "--data-dir", filepath.Join(temp, "alone"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	of := []emulated{}
	defer func() {
		for _, e := range of {
			err = errors.Join(err, e.close())
		}
	}()
	add := func(name, firestore, pubsub string) error {
		e, err := connectEmulated(name, firestore, pubsub)
		if err == nil {
			of = append(of, e)
			err = e.fill(ctx, firestore, s.sizes.alone)
		}
		return err
	}
	if err := add("ours", hosts["FIRESTORE_EMULATOR_HOST"], hosts["PUBSUB_EMULATOR_HOST"]); err != nil {
		return nil, err
	}
	if gcloud, missing := exec.LookPath("gcloud"); s.google && missing == nil {
		firestore, stop, err := startGoogles(ctx, gcloud, "emulators", "firestore", "start")
		if err != nil {
			return nil, err
		}
		defer stop()
		data := filepath.Join(temp, "google")
		if err := os.Mkdir(data, 0o700); err != nil {
			return nil, err
		}
		pubsub, stop, err := startGoogles(ctx, gcloud, "beta", "emulators", "pubsub", "start", "--data-dir="+data)
		if err != nil {
			return nil, err
		}
		defer stop()
		if err := add("google", firestore, pubsub); err != nil {
			return nil, err
		}
	}
	var lines []line
	for _, m := range []struct {
		what, unit string
		n          int
		run        func(emulated, context.Context) error
	}{
		{fmt.Sprintf("embedded Firestore: all of %s documents by one query", number(s.sizes.alone)), "documents/s", s.sizes.alone, func(e emulated, ctx context.Context) error { return e.drain(ctx, s.sizes.alone) }},
		{fmt.Sprintf("embedded Firestore: pages of %d by cursor, in the middle", alonePage), "pages/s", alonePages, func(e emulated, ctx context.Context) error { return e.pages(ctx, s.sizes.alone) }},
		{"embedded Firestore: counts of them", "counts/s", aloneCounts, func(e emulated, ctx context.Context) error { return e.counts(ctx, s.sizes.alone) }},
		{"embedded Pub/Sub: from publish to receive, one at a time", "messages/s", aloneNotices, func(e emulated, ctx context.Context) error { return e.notify(ctx) }},
	} {
		var ways []way
		for _, e := range of {
			ways = append(ways, way{e.name, func(ctx context.Context) error { return m.run(e, ctx) }})
		}
		got, err := s.interleave(ctx, m.what, s.sizes.devRounds, ways...)
		if err != nil {
			return lines, err
		}
		l := line{what: m.what, ours: fmt.Sprintf("%s %s", number(got[0].rate(m.n)), m.unit), value: got[0].rate(m.n), format: "%.0f " + m.unit}
		if len(got) > 1 {
			l.what += " / Google's emulator"
			l.against, l.value, l.format = fmt.Sprintf("%s %s", number(got[1].rate(m.n)), m.unit), got[0].faster(got[1]), "%.1f×"
		}
		lines = append(lines, l)
	}
	upload, err := s.aloneUploadLine(ctx, strings.TrimPrefix(hosts["STORAGE_EMULATOR_HOST"], "http://"), temp)
	if err != nil {
		return lines, err
	}
	return append(lines, upload), nil
}

// startEmulators runs `exportd-dev emulators` and returns what it prints.
func startEmulators(ctx context.Context, binary string, args ...string) (*process, map[string]string, error) {
	hosts := make(chan map[string]string, 1)
	p, err := start(context.WithoutCancel(ctx), nil, func(line string) {
		var vars map[string]string
		if json.Unmarshal([]byte(line), &vars) == nil && vars["FIRESTORE_EMULATOR_HOST"] != "" {
			hosts <- vars
		}
	}, devProgram(binary), append([]string{"emulators", "--json"}, args...)...)
	if err != nil {
		return nil, nil, err
	}
	select {
	case vars := <-hosts:
		return p, vars, nil
	case <-ctx.Done():
		return nil, nil, errors.Join(ctx.Err(), p.stop())
	case <-time.After(openWithin):
		return nil, nil, errors.Join(fmt.Errorf("exportd-dev emulators is not ready:\n%s", p.said()), p.stop())
	}
}

// startGoogles runs one of Google's emulators, which starts other programs, until stop.
func startGoogles(ctx context.Context, gcloud string, args ...string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(gcloud, append(args, "--host-port="+addr)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start Google's emulator: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // by the signal, or too early: there is no answer then
	}()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it has ended, or ends now
		<-ended
	}
	for begun := time.Now(); time.Since(begun) < openWithin && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if answers(ctx, addr) {
			return addr, stop, nil
		}
		select {
		case <-ended:
			return "", nil, fmt.Errorf("google's emulator (gcloud %s) has ended", strings.Join(args, " "))
		default:
		}
	}
	stop()
	return "", nil, fmt.Errorf("google's emulator at %s does not answer", addr)
}

// answers bounds one question: a server that is not up yet may take it, and never answer.
func answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func connectEmulated(name, firestore, pubsub string) (emulated, error) {
	f, err := grpc.NewClient("passthrough:///"+firestore, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return emulated{}, fmt.Errorf("dial Firestore: %w", err)
	}
	p, err := grpc.NewClient("passthrough:///"+pubsub, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return emulated{}, errors.Join(fmt.Errorf("dial Pub/Sub: %w", err), f.Close())
	}
	return emulated{name, firestorepb.NewFirestoreClient(f), pubsubpb.NewPublisherClient(p), pubsubpb.NewSubscriberClient(p), func() error { return errors.Join(f.Close(), p.Close()) }}, nil
}

const (
	aloneDatabase = "projects/" + aloneProject + "/databases/(default)"
	aloneTopic    = "projects/" + aloneProject + "/topics/alone"
	aloneSub      = "projects/" + aloneProject + "/subscriptions/alone"
)

func owner(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer owner") // what lets Google's take anything
}

func (e emulated) fill(ctx context.Context, host string, n int) error {
	err := commit(owner(ctx), host, aloneDatabase, n, 400, func(i int) *firestorepb.Document {
		d := document(aloneDatabase, i)
		d.Name = fmt.Sprintf("%s/documents/alone/d%07d", aloneDatabase, i)
		return d
	})
	if err != nil {
		return err
	}
	_, err = e.publisher.CreateTopic(ctx, &pubsubpb.Topic{Name: aloneTopic})
	return err
}

func (e emulated) query(ctx context.Context, q *firestorepb.StructuredQuery) (last string, n int, err error) {
	q.From = []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "alone"}}
	q.OrderBy = []*firestorepb.StructuredQuery_Order{{Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: "__name__"}, Direction: firestorepb.StructuredQuery_ASCENDING}}
	rows, err := e.firestore.RunQuery(owner(ctx), &firestorepb.RunQueryRequest{Parent: aloneDatabase + "/documents", QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: q}})
	for err == nil {
		var m *firestorepb.RunQueryResponse
		if m, err = rows.Recv(); err == nil && m.GetDocument() != nil {
			last = m.GetDocument().GetName()
			n++
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return last, n, err
}

func (e emulated) drain(ctx context.Context, want int) error {
	_, n, err := e.query(ctx, &firestorepb.StructuredQuery{})
	if err == nil && n != want {
		err = fmt.Errorf("%d documents, want %d", n, want)
	}
	return err
}

func (e emulated) pages(ctx context.Context, of int) error {
	last := fmt.Sprintf("%s/documents/alone/d%07d", aloneDatabase, max(0, of/2-alonePage*alonePages))
	for range alonePages {
		at := &firestorepb.Value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: last}}
		next, n, err := e.query(ctx, &firestorepb.StructuredQuery{StartAt: &firestorepb.Cursor{Values: []*firestorepb.Value{at}}, Limit: wrapperspb.Int32(alonePage)})
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		last = next
	}
	return nil
}

// counted makes each count another one: the embedded server keeps what it has counted while nothing changes.
var counted atomic.Int64

func (e emulated) counts(ctx context.Context, want int) error {
	for range aloneCounts {
		alias := fmt.Sprintf("n%d", counted.Add(1))
		q := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "alone"}}}
		rows, err := e.firestore.RunAggregationQuery(owner(ctx), &firestorepb.RunAggregationQueryRequest{Parent: aloneDatabase + "/documents", QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{
			StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
				QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q},
				Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{Alias: alias, Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{
					Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{},
				}}},
			},
		}})
		if err != nil {
			return err
		}
		m, err := rows.Recv()
		if err != nil {
			return err
		}
		if n := m.GetResult().GetAggregateFields()[alias].GetIntegerValue(); n != int64(want) {
			return fmt.Errorf("a count of %d, want %d", n, want)
		}
		if _, err := rows.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("the end of a count: %w", err)
		}
	}
	return nil
}

// notify publishes messages, each when the one before has come over a stream. Its subscription is new: what a
// stream that has ended was given would be with it for a minute.
func (e emulated) notify(ctx context.Context) (err error) {
	sub := fmt.Sprintf("%s-%d", aloneSub, time.Now().UnixNano())
	if _, err := e.pull.CreateSubscription(ctx, &pubsubpb.Subscription{Name: sub, Topic: aloneTopic, AckDeadlineSeconds: 60}); err != nil {
		return fmt.Errorf("create subscription: %w", err)
	}
	defer func() {
		_, gone := e.pull.DeleteSubscription(context.WithoutCancel(ctx), &pubsubpb.DeleteSubscriptionRequest{Subscription: sub})
		err = errors.Join(err, gone)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.pull.StreamingPull(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pubsubpb.StreamingPullRequest{Subscription: sub, StreamAckDeadlineSeconds: 60}); err != nil {
		return err
	}
	for range aloneNotices {
		if _, err := e.publisher.Publish(ctx, &pubsubpb.PublishRequest{Topic: aloneTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("x")}}}); err != nil {
			return err
		}
		for came := 0; came == 0; {
			m, err := stream.Recv()
			if err != nil {
				return err
			}
			if came = len(m.GetReceivedMessages()); came == 0 {
				continue
			}
			req := &pubsubpb.StreamingPullRequest{}
			for _, r := range m.GetReceivedMessages() {
				req.AckIds = append(req.AckIds, r.GetAckId())
			}
			if err := stream.Send(req); err != nil {
				return err
			}
		}
	}
	return nil
}

// aloneUploadLine is an upload of one object against a file with a checksum: Google has no emulator of it.
func (s *suite) aloneUploadLine(ctx context.Context, host, temp string) (line, error) {
	client, err := storage.NewClient(ctx, localcloud.StorageOptions(host)...)
	if err != nil {
		return line{}, fmt.Errorf("open Cloud Storage: %w", err)
	}
	defer client.Close()
	bucket := client.Bucket("alone")
	if err := bucket.Create(ctx, aloneProject, nil); err != nil {
		return line{}, fmt.Errorf("create bucket: %w", err)
	}
	block, made := make([]byte, 1<<20), 0
	got, err := s.interleave(ctx, "upload alone", s.sizes.devRounds,
		way{"ours", func(ctx context.Context) error {
			made++ // an object may change once a second
			w := bucket.Object(fmt.Sprintf("o%d", made)).NewWriter(ctx)
			for range aloneUpload / len(block) {
				if _, err := w.Write(block); err != nil {
					return errors.Join(err, w.Close())
				}
			}
			return w.Close()
		}},
		way{"file", func(context.Context) error {
			return writeFile(filepath.Join(temp, "alone-upload"), block, aloneUpload/len(block))
		}},
	)
	if err != nil {
		return line{}, err
	}
	rate := func(s samples) float64 { return s.rate(aloneUpload) / 1e6 }
	return line{
		what: "embedded Cloud Storage: upload of 64 MiB / a file with crc32c and fsync",
		ours: fmt.Sprintf("%.0f MB/s", rate(got[0])), against: fmt.Sprintf("%.0f MB/s", rate(got[1])), value: got[0].faster(got[1]), format: "%.2f×",
	}, nil
}
