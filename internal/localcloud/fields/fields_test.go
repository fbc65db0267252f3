package fields_test

import (
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"exportd/internal/localcloud/fields"
)

const pubsub = "google.pubsub.v1."

func table() fields.Table {
	t := fields.Table{}
	t.Lines(pubsub+"PublishRequest", fields.Honoured, "topic", "messages")
	t.Lines(pubsub+"PubsubMessage", fields.Honoured, "data")
	t.Lines(pubsub+"PubsubMessage", fields.Answer, "message_id")
	t.Lines(pubsub+"PubsubMessage", fields.Refused, "ordering_key")
	t.Lines(pubsub+"Topic", fields.Honoured, "labels")
	t.Lines(pubsub+"Subscription", fields.Whole, "expiration_policy")
	return t
}

func TestCheck(t *testing.T) {
	t.Parallel()
	unknown := &pubsubpb.PubsubMessage{}
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	in := func(m *pubsubpb.PubsubMessage) proto.Message {
		return &pubsubpb.PublishRequest{Topic: "t", Messages: []*pubsubpb.PubsubMessage{{Data: []byte("x")}, m}}
	}
	for name, c := range map[string]struct {
		m    proto.Message
		want string // part of the refusal, "" for none
	}{
		"honoured":                {in(&pubsubpb.PubsubMessage{}), ""},
		"an answer sent back":     {in(&pubsubpb.PubsubMessage{MessageId: "1"}), ""},
		"refused in a list":       {in(&pubsubpb.PubsubMessage{OrderingKey: "k"}), "google.pubsub.v1.PubsubMessage.ordering_key: not supported by the server"},
		"without a line":          {in(&pubsubpb.PubsubMessage{Attributes: map[string]string{"a": "b"}}), "PubsubMessage.attributes"},
		"of a later version":      {in(unknown), "a field of google.pubsub.v1.PubsubMessage that the server does not know"},
		"a map":                   {&pubsubpb.Topic{Labels: map[string]string{"a": "b"}}, ""},
		"whole, with what is not": {&pubsubpb.Subscription{ExpirationPolicy: &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(1)}}, ""},
	} {
		err := table().Check(c.m, "the server")
		if c.want == "" && err != nil || c.want != "" && (status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestUndecided(t *testing.T) {
	t.Parallel()
	service := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services().ByName("Publisher")
	unserved := []string{"CreateTopic", "UpdateTopic", "GetTopic", "ListTopics", "ListTopicSubscriptions", "ListTopicSnapshots", "DeleteTopic", "DetachSubscription"}
	if got, want := table().Undecided(service, unserved), []string{pubsub + "PubsubMessage.attributes", pubsub + "PubsubMessage.publish_time"}; !slices.Equal(got, want) {
		t.Errorf("Undecided() = %q, want %q", got, want)
	}
}
