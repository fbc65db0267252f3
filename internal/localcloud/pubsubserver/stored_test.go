package pubsubserver

import (
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// FuzzStored starts a server on any entry of its store: it is an error, or something to be served.
func FuzzStored(f *testing.F) {
	uid := []byte{0, 0, 0, 0, 0, 0, 0, 7}
	marshal := func(m proto.Message) []byte {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return raw
	}
	sub := marshal(&pubsubpb.Subscription{Name: testSub, Topic: testTopic, Filter: "attributes:a", EnableMessageOrdering: true})
	f.Add(nameKey(topicPrefix, testTopic), marshal(&pubsubpb.Topic{Name: testTopic}), []byte("s"), []byte{})
	f.Add(nameKey(subPrefix, testSub), append(uid, sub...), messageKey(7, 9), append([]byte{3}, marshal(&pubsubpb.PubsubMessage{MessageId: "9", Data: []byte("x"), OrderingKey: "k"})...))
	f.Add([]byte("q"), []byte{0x80}, messageKey(7, 1<<64-1), []byte{0})
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 []byte) {
		fs := vfs.NewMem()
		st, err := openStore("data", fs, nil, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string][]byte{string(key1): value1, string(key2): value2} {
			if err := st.db.Set([]byte(key), value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.close(); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: "data", FS: fs})
		if err != nil {
			return
		}
		s.Backlogs()
		u := &subscriber{s: s}
		for name := range s.subs {
			// Without waiting: what is there, if anything.
			req := &pubsubpb.PullRequest{Subscription: name, MaxMessages: 1}
			//lint:ignore SA1019 deprecated in the API, still sent by clients
			req.ReturnImmediately = true
			if _, err := u.Pull(t.Context(), req); err != nil && !s.subs[name].subscription().GetDetached() {
				t.Errorf("Pull(%s) = %v", name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
