resource "google_storage_bucket" "exports" {
  project                     = var.project_id
  name                        = local.bucket_name
  location                    = local.bucket_location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect
  # A file that a customer had deleted is gone, not kept for a week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }
  # The last resort behind exportd's own sweep: a day after the files' life.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.file_days + 1
      matches_prefix = ["exports/"]
    }
  }
  dynamic "encryption" {
    for_each = google_kms_crypto_key.files
    content {
      default_kms_key_name = encryption.value.id
    }
  }
  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.storage]
}
