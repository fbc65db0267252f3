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

output "console_audience" {
  description = "EXPORTD_CONSOLE_IAP_AUDIENCE for settings, once the load balancer is there: then whom console_members lets in signs in by name, with the role that EXPORTD_CONSOLE_VIEWERS, _OPERATORS or _ADMINS gives."
  value       = local.serve && local.console ? "/projects/${data.google_project.this.number}/global/backendServices/${google_compute_backend_service.console[0].generated_id}" : null
}
