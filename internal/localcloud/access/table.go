package access

import (
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// needs are the permissions of every method that the embedded cloud serves, or that clients call and are to
// get an honest answer for. Writes of Firestore depend on the write: see ofWrites.
//
// Firestore, and its admin API: https://cloud.google.com/firestore/docs/security/iam#required_permissions
// Pub/Sub: https://cloud.google.com/pubsub/docs/access-control#required_permissions Cloud Storage:
// https://cloud.google.com/storage/docs/access-control/iam-json IAM Credentials:
// https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob
var needs = map[string][]string{
	"Firestore/GetDocument":         {"datastore.entities.get"},
	"Firestore/BatchGetDocuments":   {"datastore.entities.get"},
	"Firestore/ListDocuments":       {"datastore.entities.get", "datastore.entities.list"},
	"Firestore/RunQuery":            {"datastore.entities.get", "datastore.entities.list"},
	"Firestore/RunAggregationQuery": {"datastore.entities.get", "datastore.entities.list"},
	"Firestore/PartitionQuery":      {"datastore.entities.get", "datastore.entities.list"},
	"Firestore/Listen":              {"datastore.entities.get", "datastore.entities.list"},
	"Firestore/ListCollectionIds":   {"datastore.entities.list"},
	// "Begin or roll back a transaction", in spite of the permission's name.
	"Firestore/BeginTransaction": {"datastore.databases.get"},
	"Firestore/Rollback":         {"datastore.databases.get"},
	"Firestore/CreateDocument":   {"datastore.entities.create"},
	"Firestore/DeleteDocument":   {"datastore.entities.delete"},
	"Firestore/UpdateDocument":   nil, // by its precondition
	"Firestore/Commit":           nil, // by its writes
	"Firestore/BatchWrite":       nil, // by its writes
	"Firestore/Write":            nil, // by the writes of each request

	"FirestoreAdmin/GetDatabase":   {"datastore.databases.getMetadata"},
	"FirestoreAdmin/ListDatabases": {"datastore.databases.list"},
	"FirestoreAdmin/GetField":      {"datastore.indexes.get"},
	"FirestoreAdmin/ListFields":    {"datastore.indexes.list"},
	"FirestoreAdmin/GetIndex":      {"datastore.indexes.get"},
	"FirestoreAdmin/ListIndexes":   {"datastore.indexes.list"},

	"Publisher/CreateTopic":              {"pubsub.topics.create"},
	"Publisher/GetTopic":                 {"pubsub.topics.get"},
	"Publisher/ListTopics":               {"pubsub.topics.list"},
	"Publisher/ListTopicSubscriptions":   {"pubsub.topics.get"},
	"Publisher/UpdateTopic":              {"pubsub.topics.update"},
	"Publisher/DeleteTopic":              {"pubsub.topics.delete"},
	"Publisher/Publish":                  {"pubsub.topics.publish"},
	"Publisher/DetachSubscription":       {"pubsub.topics.detachSubscription"},
	"Subscriber/CreateSubscription":      {"pubsub.subscriptions.create", "pubsub.topics.attachSubscription"},
	"Subscriber/GetSubscription":         {"pubsub.subscriptions.get"},
	"Subscriber/ListSubscriptions":       {"pubsub.subscriptions.list"},
	"Subscriber/UpdateSubscription":      {"pubsub.subscriptions.update"},
	"Subscriber/ModifyPushConfig":        {"pubsub.subscriptions.update"},
	"Subscriber/DeleteSubscription":      {"pubsub.subscriptions.delete"},
	"Subscriber/Pull":                    {"pubsub.subscriptions.consume"},
	"Subscriber/StreamingPull":           {"pubsub.subscriptions.consume"},
	"Subscriber/Acknowledge":             {"pubsub.subscriptions.consume"},
	"Subscriber/ModifyAckDeadline":       {"pubsub.subscriptions.consume"},
	"Publisher/ListTopicSnapshots":       {"pubsub.topics.get"},
	"Subscriber/ListSnapshots":           {"pubsub.snapshots.list"},
	"Subscriber/GetSnapshot":             {"pubsub.snapshots.get"},
	"Subscriber/CreateSnapshot":          {"pubsub.snapshots.create", "pubsub.subscriptions.consume"},
	"Subscriber/UpdateSnapshot":          {"pubsub.snapshots.update"},
	"Subscriber/DeleteSnapshot":          {"pubsub.snapshots.delete"},
	"SchemaService/ListSchemas":          {"pubsub.schemas.list"},
	"Subscriber/Seek":                    {"pubsub.subscriptions.consume"},
	"IAMPolicy/TestIamPermissions":       {}, // asks what the caller may, and needs nothing
	"Storage/buckets.testIamPermissions": {},

	"Storage/buckets.list":   {"storage.buckets.list"},
	"Storage/buckets.insert": {"storage.buckets.create"},
	// Without getIamPolicy the answer has no ACLs, which is what a bucket with uniform access has.
	"Storage/buckets.get":    {"storage.buckets.get"},
	"Storage/buckets.patch":  {"storage.buckets.get", "storage.buckets.update"},
	"Storage/buckets.delete": {"storage.buckets.delete"},
	"Storage/objects.list":   {"storage.objects.list"},
	"Storage/objects.get":    {"storage.objects.get"},
	"Storage/objects.patch":  {"storage.objects.get", "storage.objects.update"},
	"Storage/objects.delete": {"storage.objects.delete"},
	// Deleting, too, where the object exists already. Who does not exclude that by ifGenerationMatch=0 is
	// taken to mean it: ofOverwrite.
	"Storage/objects.insert":  {"storage.objects.create"},
	"Storage/objects.compose": {"storage.objects.get", "storage.objects.create"},
	"Storage/objects.rewrite": {"storage.objects.get", "storage.objects.create"},
	// https://cloud.google.com/storage/docs/access-control/iam-xml Completing one needs ofOverwrite too, as
	// it has no conditions.
	"Storage/multipartUploads.list":       {"storage.multipartUploads.list"},
	"Storage/multipartUploads.listParts":  {"storage.multipartUploads.listParts"},
	"Storage/multipartUploads.abort":      {"storage.multipartUploads.abort"},
	"Storage/multipartUploads.begin":      {"storage.multipartUploads.create", "storage.objects.create"},
	"Storage/multipartUploads.uploadPart": {"storage.multipartUploads.create", "storage.objects.create"},
	"Storage/multipartUploads.complete":   {"storage.multipartUploads.create", "storage.objects.create"},
	// A signed URL can do what its signer can.
	"Storage/signed.get": {"storage.objects.get"},
	"Storage/preflight":  {}, // says what a bucket's CORS configuration allows

	"Credentials/signBlob": {"iam.serviceAccounts.signBlob"},
}

// ofOverwrite is what objects.insert, compose and rewrite need besides when they may overwrite, and the
// completion of a multipart upload.
const ofOverwrite = "storage.objects.delete"

// Of single writes.
const (
	createEntity = "datastore.entities.create"
	updateEntity = "datastore.entities.update"
	deleteEntity = "datastore.entities.delete"
	emptyCommit  = "datastore.databases.get"
)

// ofRequest returns the permissions of a call of a gRPC service; ok is false for a method that the table does
// not know.
func ofRequest(method string, req any) (needed []string, ok bool) {
	needed, ok = needs[method]
	if needed != nil || !ok {
		return needed, ok
	}
	switch req := req.(type) {
	case *firestorepb.CommitRequest:
		return ofWrites(req.GetWrites()), true
	case *firestorepb.BatchWriteRequest:
		return ofWrites(req.GetWrites()), true
	case *firestorepb.WriteRequest:
		if len(req.GetWrites()) == 0 {
			return nil, true // the first, which only opens the stream
		}
		return ofWrites(req.GetWrites()), true
	case *firestorepb.UpdateDocumentRequest:
		return ofUpdate(nil, req.GetCurrentDocument()), true
	}
	return nil, false
}

// byRequest says whether what a method needs depends on the request.
func byRequest(fullMethod string) bool {
	needed, ok := needs[shortName(fullMethod)]
	return ok && needed == nil
}

// ofWrites: an update needs one permission where its precondition says whether the document exists, else
// both.
func ofWrites(writes []*firestorepb.Write) (needed []string) {
	for _, w := range writes {
		if _, remove := w.GetOperation().(*firestorepb.Write_Delete); remove {
			needed = add(needed, deleteEntity)
			continue
		}
		needed = ofUpdate(needed, w.GetCurrentDocument())
	}
	if len(writes) == 0 {
		return []string{emptyCommit}
	}
	return needed
}

func ofUpdate(needed []string, p *firestorepb.Precondition) []string {
	switch c := p.GetConditionType().(type) {
	case *firestorepb.Precondition_Exists:
		if c.Exists {
			return add(needed, updateEntity)
		}
		return add(needed, createEntity)
	case *firestorepb.Precondition_UpdateTime:
		return add(needed, updateEntity) // of a document that exists
	}
	return add(add(needed, createEntity), updateEntity)
}

func add(list []string, p string) []string {
	if slices.Contains(list, p) {
		return list
	}
	return append(list, p)
}

// Permissions lists every permission that a call of the embedded cloud may need, sorted.
func Permissions() []string {
	out := []string{createEntity, updateEntity, deleteEntity, emptyCommit, ofOverwrite}
	for _, list := range needs {
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
