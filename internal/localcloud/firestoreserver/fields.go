package firestoreserver

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/fields"
)

// served says of each field of what this server reads whether it is honoured: see package fields. What is in
// values and documents package fsvalue checks, which knows every kind.
var served = func() fields.Table {
	const p = "google.firestore.v1."
	t := fields.Table{}
	// Tags of requests and labels are for reports of the console; what is answered does not depend on them.
	for _, r := range []string{
		"GetDocument", "ListDocuments", "UpdateDocument", "DeleteDocument", "BatchGetDocuments", "BeginTransaction", "Commit", "Rollback", "RunQuery", "RunAggregationQuery",
		"PartitionQuery", "Write", "Listen", "ListCollectionIds", "BatchWrite", "CreateDocument",
	} {
		t.Lines(protoreflect.FullName(p+r+"Request"), fields.Whole, "request_options")
	}
	t.Lines(p+"ListenRequest", fields.Whole, "labels")
	t.Lines(p+"WriteRequest", fields.Whole, "labels")
	t.Lines(p+"BatchWriteRequest", fields.Whole, "labels")

	t.Lines(p+"GetDocumentRequest", fields.Honoured, "name", "mask", "transaction")
	t.Lines(p+"GetDocumentRequest", fields.Whole, "read_time")
	t.Lines(p+"DocumentMask", fields.Honoured, "field_paths")
	t.Lines(p+"ListDocumentsRequest", fields.Honoured, "parent", "collection_id", "page_size", "page_token", "order_by", "mask", "transaction", "show_missing")
	t.Lines(p+"ListDocumentsRequest", fields.Whole, "read_time")
	t.Lines(p+"CreateDocumentRequest", fields.Honoured, "parent", "collection_id", "document_id", "document", "mask")
	t.Lines(p+"UpdateDocumentRequest", fields.Honoured, "document", "update_mask", "mask", "current_document")
	t.Lines(p+"DeleteDocumentRequest", fields.Honoured, "name", "current_document")
	t.Lines(p+"BatchGetDocumentsRequest", fields.Honoured, "database", "documents", "mask", "transaction", "new_transaction")
	t.Lines(p+"BatchGetDocumentsRequest", fields.Whole, "read_time")
	t.Lines(p+"Document", fields.Honoured, "name")
	t.Lines(p+"Document", fields.Whole, "fields")
	t.Lines(p+"Document", fields.Answer, "create_time", "update_time")
	t.Lines(p+"Precondition", fields.Honoured, "exists")
	t.Lines(p+"Precondition", fields.Whole, "update_time")

	t.Lines(p+"BeginTransactionRequest", fields.Honoured, "database", "options")
	t.Lines(p+"TransactionOptions", fields.Honoured, "read_only", "read_write")
	t.Lines(p+"TransactionOptions.ReadOnly", fields.Whole, "read_time")
	t.Lines(p+"TransactionOptions.ReadWrite", fields.Honoured, "retry_transaction")
	t.Lines(p+"TransactionOptions.ReadWrite", fields.Refused, "concurrency_mode") // documents that were read are locked, as by default
	t.Lines(p+"CommitRequest", fields.Honoured, "database", "writes", "transaction")
	t.Lines(p+"BatchWriteRequest", fields.Honoured, "database", "writes")
	t.Lines(p+"WriteRequest", fields.Honoured, "database", "writes", "stream_token")
	t.Lines(p+"WriteRequest", fields.Refused, "stream_id") // no stream is resumed: see Write
	t.Lines(p+"RollbackRequest", fields.Honoured, "database", "transaction")
	t.Lines(p+"Write", fields.Honoured, "update", "delete", "update_mask", "current_document")
	t.Lines(p+"Write", fields.Whole, "update_transforms")
	t.Lines(p+"Write", fields.Refused, "transform") // of clients before 2019

	t.Lines(p+"RunQueryRequest", fields.Honoured, "parent", "structured_query", "transaction", "new_transaction", "explain_options")
	t.Lines(p+"RunQueryRequest", fields.Whole, "read_time")
	t.Lines(p+"RunAggregationQueryRequest", fields.Honoured, "parent", "structured_aggregation_query", "transaction", "new_transaction", "explain_options")
	t.Lines(p+"RunAggregationQueryRequest", fields.Whole, "read_time")
	t.Lines(p+"ExplainOptions", fields.Honoured, "analyze")
	t.Lines(p+"StructuredQuery", fields.Honoured, "select", "from", "where", "order_by", "start_at", "end_at", "offset", "find_nearest")
	t.Lines(p+"StructuredQuery", fields.Whole, "limit")
	t.Lines(p+"StructuredQuery.Projection", fields.Honoured, "fields")
	t.Lines(p+"StructuredQuery.FieldReference", fields.Honoured, "field_path")
	t.Lines(p+"StructuredQuery.CollectionSelector", fields.Honoured, "collection_id", "all_descendants")
	t.Lines(p+"StructuredQuery.Filter", fields.Honoured, "composite_filter", "field_filter", "unary_filter")
	t.Lines(p+"StructuredQuery.CompositeFilter", fields.Honoured, "op", "filters")
	t.Lines(p+"StructuredQuery.FieldFilter", fields.Honoured, "field", "op")
	t.Lines(p+"StructuredQuery.FieldFilter", fields.Whole, "value")
	t.Lines(p+"StructuredQuery.UnaryFilter", fields.Honoured, "op", "field")
	t.Lines(p+"StructuredQuery.Order", fields.Honoured, "field", "direction")
	t.Lines(p+"Cursor", fields.Honoured, "before")
	t.Lines(p+"Cursor", fields.Whole, "values")
	t.Lines(p+"StructuredQuery.FindNearest", fields.Honoured, "vector_field", "distance_measure", "distance_result_field")
	t.Lines(p+"StructuredQuery.FindNearest", fields.Whole, "query_vector", "limit", "distance_threshold")
	t.Lines(p+"StructuredAggregationQuery", fields.Honoured, "structured_query", "aggregations")
	t.Lines(p+"StructuredAggregationQuery.Aggregation", fields.Honoured, "count", "sum", "avg", "alias")
	t.Lines(p+"StructuredAggregationQuery.Aggregation.Count", fields.Whole, "up_to")
	t.Lines(p+"StructuredAggregationQuery.Aggregation.Sum", fields.Honoured, "field")
	t.Lines(p+"StructuredAggregationQuery.Aggregation.Avg", fields.Honoured, "field")
	t.Lines(p+"PartitionQueryRequest", fields.Honoured, "parent", "structured_query", "partition_count", "page_token", "page_size")
	t.Lines(p+"PartitionQueryRequest", fields.Whole, "read_time")
	t.Lines(p+"ListCollectionIdsRequest", fields.Honoured, "parent", "page_size", "page_token")
	t.Lines(p+"ListCollectionIdsRequest", fields.Whole, "read_time")

	t.Lines(p+"ListenRequest", fields.Honoured, "database", "add_target", "remove_target")
	t.Lines(p+"Target", fields.Honoured, "query", "documents", "resume_token", "target_id", "once")
	// The count helps to find what was deleted meanwhile, of which a target that resumes is told one by one.
	t.Lines(p+"Target", fields.Whole, "read_time", "expected_count")
	t.Lines(p+"Target.QueryTarget", fields.Honoured, "parent", "structured_query")
	t.Lines(p+"Target.DocumentsTarget", fields.Honoured, "documents")

	const a = "google.firestore.admin.v1."
	t.Lines(a+"GetDatabaseRequest", fields.Honoured, "name")
	t.Lines(a+"GetFieldRequest", fields.Honoured, "name")
	t.Lines(a+"ListFieldsRequest", fields.Honoured, "parent", "filter")
	t.Lines(a+"ListFieldsRequest", fields.Whole, "page_size")    // a group has one TTL policy, which is all that is listed
	t.Lines(a+"ListFieldsRequest", fields.Refused, "page_token") // none is given out
	return t
}()

// unserved are the methods that answer UNIMPLEMENTED whatever they are sent.
var unserved = []string{"ExecutePipeline"}
