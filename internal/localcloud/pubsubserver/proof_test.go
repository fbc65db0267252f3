package pubsubserver

import (
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/fields/fieldstest"
)

func init() { fieldstest.Ignore(served) }

// TestHonouredFields: each field that is honoured is.
func TestHonouredFields(t *testing.T) {
	t.Parallel()
	services := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services()
	api := &fieldstest.GRPC{Conn: dial(t, start(t, Options{}).addr), Table: served, Services: []protoreflect.ServiceDescriptor{
		services.ByName("Publisher"), services.ByName("Subscriber"), pubsubpb.File_google_pubsub_v1_schema_proto.Services().Get(0), iampb.File_google_iam_v1_iam_policy_proto.Services().Get(0),
	}}
	const (
		p      = "google.pubsub.v1."
		stream = p + "StreamingPullRequest."
		list   = p + "ListSchemasRequest."
		empty  = "none: no schema can be made, so that there is none to list"
	)
	fieldstest.Prove(t, api, fieldstest.Honoured(served), map[string]string{
		stream + "subscription": "TestStreamSubscription", stream + "ack_ids": "TestStreamRequests", stream + "modify_deadline_ack_ids": "TestStreamRequests",
		stream + "modify_deadline_seconds": "TestStreamRequests", stream + "stream_ack_deadline_seconds": "TestStreamAckDeadline",
		stream + "max_outstanding_messages": "TestFlowControlIsExact", stream + "max_outstanding_bytes": "TestFlowControlByBytes",
		stream + "client_id": "none: each stream is a client of its own", stream + "protocol_version": "none: there is one form of the protocol",
		p + "PullRequest.return_immediately": "none: what is pulled is the same, and only the wait for it is not",
		list + "view":                        empty, list + "page_size": empty, list + "page_token": empty,
	})
}
