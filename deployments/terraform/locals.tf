locals {
  cloud_run = var.platform == "cloud-run"
  serve     = local.cloud_run && var.keyset_ready
  console   = local.cloud_run && length(var.console_members) > 0

  bucket_name     = coalesce(var.bucket_name, "${var.project_id}-exports")
  bucket_location = coalesce(var.bucket_location, var.region)

  # What both processes get. EXPORTD_OPS_ADDR is for probes, which Cloud Run makes from beside the container.
  settings = merge({
    EXPORTD_ENV                = "production"
    EXPORTD_PROJECT_ID         = var.project_id
    EXPORTD_DATABASE_ID        = var.database_id
    EXPORTD_BUCKET             = local.bucket_name
    EXPORTD_BUCKET_LOCATION    = local.bucket_location
    EXPORTD_FILE_DAYS          = tostring(var.file_days)
    EXPORTD_PITR               = tostring(var.point_in_time_recovery)
    EXPORTD_KEYSET_FILE        = "/etc/exportd/keyset.json"
    EXPORTD_KMS_KEY            = google_kms_crypto_key.keyset.id
    EXPORTD_OPS_ADDR           = ":9090"
    EXPORTD_CALLBACK_OWN_HOSTS = var.domain
    # The load balancer's own, and those of Google's front ends before Cloud Run.
    EXPORTD_TRUSTED_PROXIES = "${google_compute_global_address.api.address}/32,35.191.0.0/16,130.211.0.0/22,169.254.0.0/16"
  }, local.console ? { EXPORTD_CONSOLE = "public" } : {}, var.settings)
}
