output "address" {
  description = "The load balancer's address: the A record of domain."
  value       = google_compute_global_address.api.address
}

output "bucket" {
  description = "Bucket of the files."
  value       = google_storage_bucket.exports.name
}

output "accounts" {
  description = "Service accounts by process; overlays of deployments/kubernetes name those of api and worker."
  value       = { for name, a in google_service_account.process : name => a.email }
}

output "kms_key" {
  description = "EXPORTD_KMS_KEY for `exportd setup`."
  value       = google_kms_crypto_key.keyset.id
}

output "keyset_secret" {
  description = "Secret that the keyset is put into: gcloud secrets versions add."
  value       = google_secret_manager_secret.keyset.secret_id
}

output "settings" {
  description = "Settings of both processes, as the module sets them."
  value       = local.settings
}

output "notification_channel" {
  description = "Where alerts go."
  value       = google_monitoring_notification_channel.email.id
}
