package firestoreserver_test

import (
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/fields/fieldstest"
	"exportd/internal/localcloud/firestoreserver"
)

func init() { fieldstest.Ignore(firestoreserver.Served) }

// TestHonouredFields: each field that is honoured is.
func TestHonouredFields(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexMode: firestoreserver.Scan})
	api := &fieldstest.GRPC{Conn: f.conn, Table: firestoreserver.Served, Services: []protoreflect.ServiceDescriptor{
		firestorepb.File_google_firestore_v1_firestore_proto.Services().Get(0), adminpb.File_google_firestore_admin_v1_firestore_admin_proto.Services().Get(0),
	}}
	const p = "google.firestore.v1."
	elsewhere := map[string]string{
		p + "ListenRequest.remove_target": "TestListenRemoveTarget", p + "Target.once": "TestListenOnce", p + "Target.read_time": "TestListenFromReadTime",
		p + "Target.expected_count":                          "none: a server need not send the names by which a client finds what it has too much: it is told one by one",
		p + "TransactionOptions.ReadWrite.retry_transaction": "TestRetryTakesTurns",
		p + "WriteRequest.database":                          "TestWriteStream", p + "WriteRequest.writes": "TestWriteStream", p + "WriteRequest.stream_token": "TestWriteStream",
		p + "RollbackRequest.database":                          "TestRollback",
		p + "PartitionQueryRequest.page_size":                   "TestPartitions",
		p + "PartitionQueryRequest.page_token":                  "TestPartitions",
		"google.firestore.admin.v1.ListFieldsRequest.page_size": "none: a group has one TTL policy, which is all that is listed",
	}
	honoured := fieldstest.Honoured(firestoreserver.Served)
	for _, name := range honoured {
		if strings.HasSuffix(name, ".request_options") || strings.HasSuffix(name, "Request.labels") {
			elsewhere[name] = "none: it is for reports of the console"
		}
	}
	fieldstest.Prove(t, api, honoured, elsewhere)
}
