# What encrypts the keyset that seals the secrets of API keys; and files, if wished.
resource "google_kms_key_ring" "this" {
  project    = var.project_id
  name       = "exportd"
  location   = var.region
  depends_on = [google_project_service.api]
}

resource "google_kms_crypto_key" "keyset" {
  name                       = "keyset"
  key_ring                   = google_kms_key_ring.this.id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = "7776000s" # 90 days; old versions go on decrypting
  destroy_scheduled_duration = "2592000s" # 30 days to think again
  lifecycle {
    # Without it every secret of every API key is lost.
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key" "files" {
  count                      = var.encrypt_bucket ? 1 : 0
  name                       = "files"
  key_ring                   = google_kms_key_ring.this.id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = "7776000s"
  destroy_scheduled_duration = "2592000s"
}

data "google_storage_project_service_account" "this" {
  project = var.project_id
}

resource "google_kms_crypto_key_iam_member" "storage" {
  count         = var.encrypt_bucket ? 1 : 0
  crypto_key_id = google_kms_crypto_key.files[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}
