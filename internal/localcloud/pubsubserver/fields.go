package pubsubserver

import "exportd/internal/localcloud/fields"

// serverName is who refuses a field.
const serverName = "the embedded Pub/Sub server"

// served says of each field of what this server reads whether it is honoured: see package fields.
var served = func() fields.Table {
	const p = "google.pubsub.v1."
	t := fields.Table{}
	t.Lines(p+"Topic", fields.Honoured, "name")
	t.Lines(p+"Topic", fields.Whole, "labels")
	t.Lines(p+"Topic", fields.Answer, "state", "satisfies_pzs")
	// What is kept for seeking back is kept by subscriptions, not by topics; tags are for policies, of which
	// there are none.
	t.Lines(p+"Topic", fields.Refused, "message_storage_policy", "kms_key_name", "schema_settings", "message_retention_duration", "ingestion_data_source_settings", "message_transforms", "tags")
	t.Lines(p+"PubsubMessage", fields.Honoured, "data", "ordering_key")
	t.Lines(p+"PubsubMessage", fields.Whole, "attributes")
	t.Lines(p+"PubsubMessage", fields.Answer, "message_id", "publish_time")

	t.Lines(p+"Subscription", fields.Honoured, "name", "topic", "push_config", "ack_deadline_seconds", "enable_message_ordering", "expiration_policy", "filter", "dead_letter_policy", "retry_policy", "retain_acked_messages")
	t.Lines(p+"Subscription", fields.Whole, "labels", "message_retention_duration")
	t.Lines(p+"Subscription", fields.Answer, "detached", "topic_message_retention_duration", "state", "analytics_hub_subscription_info")
	t.Lines(p+"Subscription", fields.Refused, "bigquery_config", "cloud_storage_config", "bigtable_config", "enable_exactly_once_delivery", "message_transforms", "tags")
	t.Lines(p+"PushConfig", fields.Honoured, "push_endpoint", "pubsub_wrapper")
	t.Lines(p+"PushConfig", fields.Whole, "attributes") // checkPushConfig
	t.Lines(p+"PushConfig", fields.Refused, "oidc_token", "no_wrapper")
	t.Lines(p+"ExpirationPolicy", fields.Whole, "ttl") // completeSubscription
	t.Lines(p+"DeadLetterPolicy", fields.Honoured, "dead_letter_topic", "max_delivery_attempts")
	t.Lines(p+"RetryPolicy", fields.Whole, "minimum_backoff", "maximum_backoff")

	t.Lines(p+"UpdateTopicRequest", fields.Honoured, "topic")
	t.Lines(p+"UpdateTopicRequest", fields.Whole, "update_mask")
	t.Lines(p+"PublishRequest", fields.Honoured, "topic", "messages")
	t.Lines(p+"GetTopicRequest", fields.Honoured, "topic")
	t.Lines(p+"ListTopicsRequest", fields.Honoured, "project", "page_size", "page_token")
	t.Lines(p+"ListTopicSubscriptionsRequest", fields.Honoured, "topic", "page_size", "page_token")
	t.Lines(p+"ListTopicSnapshotsRequest", fields.Honoured, "topic", "page_size", "page_token")
	t.Lines(p+"DeleteTopicRequest", fields.Honoured, "topic")
	t.Lines(p+"DetachSubscriptionRequest", fields.Honoured, "subscription")
	t.Lines(p+"GetSubscriptionRequest", fields.Honoured, "subscription")
	t.Lines(p+"UpdateSubscriptionRequest", fields.Honoured, "subscription")
	t.Lines(p+"UpdateSubscriptionRequest", fields.Whole, "update_mask")
	t.Lines(p+"ListSubscriptionsRequest", fields.Honoured, "project", "page_size", "page_token")
	t.Lines(p+"ModifyPushConfigRequest", fields.Honoured, "subscription", "push_config")
	t.Lines(p+"DeleteSubscriptionRequest", fields.Honoured, "subscription")
	t.Lines(p+"ModifyAckDeadlineRequest", fields.Honoured, "subscription", "ack_ids", "ack_deadline_seconds")
	t.Lines(p+"AcknowledgeRequest", fields.Honoured, "subscription", "ack_ids")
	t.Lines(p+"PullRequest", fields.Honoured, "subscription", "return_immediately", "max_messages")
	t.Lines(p+"StreamingPullRequest", fields.Honoured, "subscription", "ack_ids", "modify_deadline_seconds", "modify_deadline_ack_ids", "stream_ack_deadline_seconds", "max_outstanding_messages", "max_outstanding_bytes")
	// They help the service to find one client's streams again; each stream is one of its own here.
	t.Lines(p+"StreamingPullRequest", fields.Whole, "client_id", "protocol_version")
	t.Lines(p+"ListSnapshotsRequest", fields.Honoured, "project", "page_size", "page_token")
	t.Lines(p+"SeekRequest", fields.Honoured, "subscription")
	t.Lines(p+"SeekRequest", fields.Whole, "time")
	t.Lines(p+"SeekRequest", fields.Honoured, "snapshot")
	t.Lines(p+"CreateSnapshotRequest", fields.Honoured, "name", "subscription")
	t.Lines(p+"CreateSnapshotRequest", fields.Whole, "labels")
	t.Lines(p+"CreateSnapshotRequest", fields.Refused, "tags")
	t.Lines(p+"GetSnapshotRequest", fields.Honoured, "snapshot")
	t.Lines(p+"DeleteSnapshotRequest", fields.Honoured, "snapshot")
	t.Lines(p+"UpdateSnapshotRequest", fields.Honoured, "snapshot")
	t.Lines(p+"UpdateSnapshotRequest", fields.Whole, "update_mask")
	t.Lines(p+"Snapshot", fields.Honoured, "name")
	t.Lines(p+"Snapshot", fields.Whole, "labels", "expire_time")
	t.Lines(p+"Snapshot", fields.Answer, "topic")
	t.Lines("google.iam.v1.TestIamPermissionsRequest", fields.Honoured, "resource", "permissions")
	t.Lines(p+"ListSchemasRequest", fields.Honoured, "parent", "view", "page_size", "page_token")
	return t
}()

// unserved are the methods that answer UNIMPLEMENTED whatever they are sent.
var unserved = []string{
	"CreateSchema", "GetSchema", "ListSchemaRevisions", "CommitSchema", "RollbackSchema", "DeleteSchemaRevision", "DeleteSchema", "ValidateSchema", "ValidateMessage"}
