package fuzz

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/pubsubserver"
)

// raw sends and gives bytes as they are.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// server is one that was just made, so that what a call finds there never depends on earlier ones.
type server interface {
	Serve(l net.Listener) error
	Close() error
}

// dialed runs a server in memory until the returned function is called.
func dialed(t *testing.T, s server) (*grpc.ClientConn, func()) {
	t.Helper()
	l := bufconn.Listen(64 << 10)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:fuzz", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn, func() {
		if err := errors.Join(conn.Close(), s.Close(), <-served); err != nil {
			t.Error(err)
		}
	}
}

// send makes a call with the messages, of which a method that takes one gets the first, and returns how it
// ended.
func send(ctx context.Context, conn *grpc.ClientConn, m method, messages ...[]byte) error {
	if !m.IsStreamingClient() {
		messages = messages[:1]
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.full, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	for _, message := range messages {
		if err := s.SendMsg(&message); err != nil {
			break // RecvMsg tells why
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		var answer []byte
		if err := s.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// blameless fails the test for an error that says that the server is at fault.
func blameless(t *testing.T, m method, err error) {
	t.Helper()
	s := status.Convert(err)
	switch {
	case strings.HasPrefix(s.Message(), "grpc: "): // bytes that are no message
	case s.Code() == codes.Internal, s.Code() == codes.Unknown, s.Code() == codes.DataLoss:
		t.Errorf("%s: %v", m.full, err)
	}
}

func index(f *testing.F, all []method, name string) uint8 {
	f.Helper()
	for i, m := range all {
		if string(m.Name()) == name {
			return uint8(i)
		}
	}
	f.Fatalf("there is no method %s", name)
	return 0
}

// seed adds the calls of the table, and for each method an empty message and one that is none.
func seed(f *testing.F, service string, all []method) {
	f.Helper()
	for i := range all {
		f.Add(uint8(i), []byte{}, []byte{})
		f.Add(uint8(i), []byte("\x0a\xff"), []byte{})
	}
	for _, r := range rows(f, service) {
		i := index(f, all, r.Call)
		f.Add(i, wire(f, all[i], r.Request), []byte{})
	}
}

// add is a seed of messages in their JSON form.
func add(f *testing.F, all []method, name string, messages ...string) {
	f.Helper()
	i := index(f, all, name)
	out := [][]byte{{}, {}}
	for j, m := range messages {
		out[j] = wire(f, all[i], []byte(m))
	}
	f.Add(i, out[0], out[1])
}

func must[T proto.Message](t testing.TB, text string, m T) T {
	t.Helper()
	if err := protojson.Unmarshal([]byte(strings.ReplaceAll(text, "$DB", database)), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// someIndexes let queries of the table be planned as well as refused.
const someIndexes = `{"indexes":[{"collectionGroup":"items","queryScope":"COLLECTION","fields":[{"fieldPath":"kind","order":"ASCENDING"},{"fieldPath":"n","order":"DESCENDING"}]},
{"collectionGroup":"items","queryScope":"COLLECTION","fields":[{"fieldPath":"v","vectorConfig":{"dimension":2,"flat":{}}}]}]}`

// someDocuments have each type of value.
const someDocuments = `{"database":"$DB","writes":[
{"update":{"name":"$DB/documents/items/a","fields":{"kind":{"stringValue":"x"},"n":{"integerValue":"1"},"tags":{"arrayValue":{"values":[{"stringValue":"red"},{"integerValue":"2"}]}},"v":{"mapValue":{"fields":{"__type__":{"stringValue":"__vector__"},"value":{"arrayValue":{"values":[{"doubleValue":1},{"doubleValue":2}]}}}}}}}},
{"update":{"name":"$DB/documents/items/b","fields":{"kind":{"stringValue":"x"},"n":{"doubleValue":"NaN"},"m":{"mapValue":{"fields":{"k":{"nullValue":null}}}},"g":{"geoPointValue":{"latitude":1,"longitude":-1}}}}},
{"update":{"name":"$DB/documents/items/c","fields":{"kind":{"bytesValue":"AAE="},"n":{"timestampValue":"2026-01-02T03:04:05Z"},"r":{"referenceValue":"$DB/documents/items/a"},"b":{"booleanValue":true}}}},
{"update":{"name":"$DB/documents/items/a/below/__id7__","fields":{}}}]}`

// FuzzFirestore sends any bytes as the messages of every method.
func FuzzFirestore(f *testing.F) {
	all := methods(firestorepb.File_google_firestore_v1_firestore_proto.Services().ByName("Firestore"), adminpb.File_google_firestore_admin_v1_firestore_admin_proto.Services().ByName("FirestoreAdmin"))
	seed(f, "firestore", all)
	target := `{"database":"` + database + `","addTarget":{"targetId":1,"query":{"parent":"` + database + `/documents","structuredQuery":{"from":[{"collectionId":"items"}],"orderBy":[{"field":{"fieldPath":"n"}}],"limit":2}}}}`
	add(f, all, "Listen", target, `{"database":"`+database+`","removeTarget":1}`)
	add(f, all, "Listen", strings.Replace(target, `"targetId":1`, `"targetId":1,"resumeToken":"AAAAAAAAAAA="`, 1), `{"database":"`+database+`","addTarget":{"documents":{"documents":["`+database+`/documents/items/a"]}}}`)
	add(f, all, "PartitionQuery", `{"parent":"`+database+`/documents","partitionCount":"2","pageToken":"AAEC","structuredQuery":{"from":[{"collectionId":"items","allDescendants":true}],"orderBy":[{"field":{"fieldPath":"__name__"}}]}}`)
	add(f, all, "ListDocuments", `{"parent":"`+database+`/documents","collectionId":"items","pageSize":1,"pageToken":"AAEC","orderBy":"n desc"}`)
	add(f, all, "Commit", `{"database":"`+database+`","writes":[{"transform":{"document":"`+database+`/documents/items/a","fieldTransforms":[{"fieldPath":"n","increment":{"integerValue":"9223372036854775807"}},{"fieldPath":"tags","appendMissingElements":{"values":[{"stringValue":"z"}]}},{"fieldPath":"t","setToServerValue":"REQUEST_TIME"},{"fieldPath":"x","minimum":{"doubleValue":1}}]}}]}`)
	add(f, all, "Write", `{"database":"`+database+`"}`, `{"writes":[{"update":{"name":"`+database+`/documents/items/a","fields":{"n":{"integerValue":"1"}}}},{"delete":"`+database+`/documents/items/b"}]}`)
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		m, w := all[int(which)%len(all)], &watch{}
		s, err := firestoreserver.Open(firestoreserver.Options{InMemory: true, IndexesJSON: []byte(someIndexes), IndexMode: firestoreserver.IndexMode(len(second) % 3), Logger: w.slog()})
		if err != nil {
			t.Fatal(err)
		}
		conn, end := dialed(t, s)
		defer end()
		if _, err := firestorepb.NewFirestoreClient(conn).Commit(t.Context(), must(t, someDocuments, &firestorepb.CommitRequest{})); err != nil {
			t.Fatal(err)
		}
		w.call(t, len(first)+len(second), func(ctx context.Context) { blameless(t, m, send(ctx, conn, m, first, second)) })
		if _, err := s.Verify(); err != nil {
			t.Errorf("documents and index entries: %v", err)
		}
	})
}

// FuzzPubSub sends any bytes as the messages of every method.
func FuzzPubSub(f *testing.F) {
	services := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services()
	all := methods(services.ByName("Publisher"), services.ByName("Subscriber"), pubsubpb.File_google_pubsub_v1_schema_proto.Services().ByName("SchemaService"), iampb.File_google_iam_v1_iam_policy_proto.Services().ByName("IAMPolicy"))
	seed(f, "pubsub", all)
	const topic, sub = project + "/topics/numbers", project + "/subscriptions/numbers"
	add(f, all, "StreamingPull", `{"subscription":"`+sub+`","streamAckDeadlineSeconds":10,"maxOutstandingMessages":"1"}`, `{"ackIds":["1.2.3"],"modifyDeadlineAckIds":["1.2.4"],"modifyDeadlineSeconds":[0]}`)
	add(f, all, "UpdateSubscription", `{"subscription":{"name":"`+sub+`","ackDeadlineSeconds":20,"retryPolicy":{"minimumBackoff":"1s"}},"updateMask":"ackDeadlineSeconds,retryPolicy"}`)
	add(f, all, "CreateSubscription", `{"name":"`+sub+`2","topic":"`+topic+`","filter":"attributes:a AND NOT hasPrefix(attributes.b, \"x\")","deadLetterPolicy":{"deadLetterTopic":"`+topic+`","maxDeliveryAttempts":5}}`)
	add(f, all, "ListTopics", `{"project":"`+project+`","pageSize":1,"pageToken":"cHJvamVjdHM"}`)
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		m, w := all[int(which)%len(all)], &watch{}
		s, err := pubsubserver.Open(pubsubserver.Options{FS: vfs.NewMem(), Log: w.zap()})
		if err != nil {
			t.Fatal(err)
		}
		conn, end := dialed(t, s)
		defer end()
		p := pubsubpb.NewPublisherClient(conn)
		_, errTopic := p.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic})
		_, errSub := pubsubpb.NewSubscriberClient(conn).CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: sub, Topic: topic, EnableMessageOrdering: len(second)%2 == 1})
		// Something to pull, or a pull would wait for 20 s.
		_, errPublish := p.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("a"), OrderingKey: "k"}, {Data: []byte("b"), OrderingKey: "k"}}})
		if err := errors.Join(errTopic, errSub, errPublish); err != nil {
			t.Fatal(err)
		}
		w.call(t, len(first)+len(second), func(ctx context.Context) { blameless(t, m, send(ctx, conn, m, first, second)) })
	})
}
